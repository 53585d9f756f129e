"""What a hostile guest can do to the machine that converts it: rows S22 to S26 and S29 of the security table.

One conversion of a guest that an enemy has made is watched (hostile_guest.py); most rows look at that run.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert import guest as appliance_of
from convert import manifest, pipeline
from convert.report import Report
from tests.convert import hostile_guest, phony
from tests.convert.memory import Memory, inspection, nic, wishes
from tests.convert.watched import command_lines
from tests.golden.cases import CASES
from tests.guests import disk
from tests.torture import flips
from transferd.errors import printable
from transferd.model import ConversionResult, Firmware

watched = pytest.mark.guestfs
# supermin and libguestfs look at this machine through a few small programs.
PROGRAMS = {
    *("python", "python3", "qemu-img", "qemu-system-x86_64", "supermin"),
    *("sh", "rm", "dpkg", "dmesg", "grep", "uname", "cp"),
}
# What makes a program of the guest run inside the appliance (guestfs(3), RUNNING COMMANDS).
RUNS_A_PROGRAM = {
    *("command", "command_lines", "command_out", "sh", "sh_lines", "sh_out", "setfiles", "selinux_relabel"),
    *("rsync", "rsync_in", "rsync_out", "inspect_os", "initrd_cat"),
}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@watched
def test_the_hostile_guest_was_converted(moved):
    assert moved.run.done.returncode == 0, moved.run.done.stderr[-2000:]
    assert all(check.ok for check in moved.result.checks)
    assert moved.result.written


@watched
def test_s22_this_machine_mounts_nothing_and_enters_no_other_root(moved):
    assert moved.run.named("execve")
    assert moved.run.named("mount", "umount2", "pivot_root", "unshare", "setns", "init_module") == []


@watched
def test_s22_only_known_programs_run_on_this_machine_and_none_gets_a_string_of_the_guest(moved):
    commands = moved.run.commands

    assert {Path(command[0]).name for command in commands} <= PROGRAMS
    words = "\n".join(word for command in commands for word in command)
    assert not any(text in words for text in ("$(reboot)", "onerror", "owned", "Phony", "ens192"))


@watched
def test_s22_no_image_is_opened_without_its_format(moved):
    tools = [command for command in moved.run.commands if Path(command[0]).name == "qemu-img"]

    assert {command[1] for command in tools} == {"create", "map", "rebase", "convert"}
    assert all("-f" in command for command in tools)
    assert all("-F" in command for command in tools if command[1] == "create")
    assert all("-O" in command for command in tools if command[1] == "convert")
    for drive in drives(moved):
        assert "format=" in drive or "file.driver=" in drive, drive


@watched
def test_s23_the_appliance_has_this_vms_disks_little_memory_no_network_and_a_sandbox(moved):
    words = emulator(moved)

    assert words[words.index("-m") + 1] == str(appliance_of.MEMORY)
    assert "-nodefaults" in words
    assert not {"-netdev", "-nic", "-net"}.intersection(words)
    assert not any("virtio-net" in word or "hostfwd" in word for word in words)
    assert words[words.index("-sandbox") + 1].startswith("on,")
    overlays = [drive for drive in drives(moved) if "snapshot=on" not in drive]
    assert len(overlays) == len(moved.disks)
    assert all(str(moved.folder / "state") in drive for drive in overlays)


@watched
def test_s23_nothing_of_the_appliance_is_left(moved):
    assert list((moved.folder / "tmp").iterdir()) == []
    assert sorted(path.name for path in (moved.folder / "state/convert").iterdir()) == ["commit.json", "lock"]
    assert not [line for line in command_lines() if str(moved.folder) in line]


@watched
def test_s23_the_conversion_speaks_with_nobody(moved):
    assert [socket for socket in moved.run.named("socket") if not socket.startswith("AF_UNIX")] == []


@watched
def test_s24_an_image_that_names_a_backing_file_exposes_nothing(moved):
    assert not [
        opened for opened in moved.run.named("open", "openat", "openat2") if str(moved.secret) in opened
    ]
    assert moved.disks[1].read_bytes() == moved.before
    assert {found.disk for found in moved.result.written} == {0}
    told = (moved.folder / "result.json").read_text() + moved.run.done.stdout + moved.run.done.stderr
    assert "$y$j9T$secret" not in told


@watched
def test_s25_nothing_that_the_guest_wrote_reaches_the_terminal_as_it_is(moved):
    """libguestfs' own trace, which is only there for this test, is left out."""
    lines = moved.run.done.stderr.splitlines()
    said = "\n".join(line for line in lines if not line.startswith("libguestfs: "))

    assert CONTROL.search(said + moved.run.done.stdout) is None
    assert "device-unresolved" in {warning.code for warning in moved.result.warnings}
    text = (moved.folder / "result.json").read_text()
    assert CONTROL.search(text) is None
    assert json.loads(text)["guest"]["distro"] == "$(reboot)"


@watched
def test_s26_no_program_of_the_guest_runs_on_the_host_or_in_the_appliance(moved):
    asked = {name for name, _ in moved.run.asked}

    assert {"launch", "pread", "shutdown"} <= asked
    assert not asked & RUNS_A_PROGRAM
    assert all("nodev,nosuid,noexec" in told for name, told in moved.run.asked if name.startswith("mount"))
    scripts = [told for name, told in moved.run.asked if name == "debug"]
    assert not [
        script for script in scripts if re.search(r"chroot|/sysroot|,exec|reboot|owned|onerror", script)
    ]
    assert disk.read(moved.disks[0], phony.ROOT, hostile_guest.MARK) == b""


def emulator(moved) -> list[str]:
    """QEMU is also asked for its version, and whether KVM works."""
    (words,) = [words for words in moved.run.commands if any("guestfsd.sock" in word for word in words)]
    return words


def drives(moved) -> list[str]:
    words = emulator(moved)
    return [after for word, after in itertools.pairwise(words) if word == "-drive"]


# --- S25 without an appliance: any bytes, through every sink ----------------------------------------------

BYTES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"$(reboot)", b"\x1b[2J", b"\xff", b"\xe2\x80\xae", b"a: b\n- c", b'"', b"\x00", b"<script>"]
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(BYTES, min_size=6, max_size=6))
def test_s25_any_bytes_of_a_guest_pass_through_every_sink(told):
    words = [data.decode("utf-8", "surrogateescape") for data in told]
    device, point, option = told[3:]
    tables = {
        "/etc/fstab": b"/dev/sdz%b %b ext4 %b 0 0\n/dev/disk/by-id/%b / ext4\n"
        % (device, point, option, device),
        "/etc/crypttab": b"%b /dev/sdy%b %b %b\n" % (point, device, option, point),
        "/etc/default/grub": b"GRUB_CMDLINE_LINUX=root=/dev/sdq%b" % device,
        "/etc/network/interfaces": b"source %b\nauto %b\niface %b inet dhcp\n" % (device, option, option),
    }
    said: list[str] = []
    report = Report(Firmware.BIOS, said.append)
    release = dict(zip(("ID", "VERSION_ID", "PRETTY_NAME"), words, strict=False))
    found = inspection(release=release, kernels=(phony.kernel(),))
    plan = pipeline.draw(Memory({**phony.plain(), **tables}), found, wishes(nic(slot=192)), report)

    result = report.result()
    texts = [result.to_json(), *(change.document().to_json() for change in plan.changes)]
    assert all(CONTROL.search(text) is None for text in texts)
    assert ConversionResult.model_validate_json(texts[0]) == result
    assert all(printable(line) == line for line in said)
    require_plain_manifest(result)


def require_plain_manifest(result: ConversionResult) -> None:
    case = CASES["bios-two-disks"]
    built = manifest.build(case.source, result, case.request)

    assert yaml.safe_load(manifest.render(built)) == built
    for label in built["metadata"]["labels"].values():
        assert manifest.LABEL_VALUE.fullmatch(label)
    for text in built["metadata"]["annotations"].values():
        assert printable(text) == text


# --- S29 -------------------------------------------------------------------------------------------------


def test_s29_files_that_change_under_the_reader_never_lead_out_of_their_folder():
    answers = flips.race(flips.ROUNDS)

    assert answers["read"] > 100
    assert answers["nothing there"] + answers["refused"] > 100
