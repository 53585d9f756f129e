"""What becomes of a guest that is booted before anything depends on it: judged, shut in, thrown away."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert import console, overlay, rehearsal
from convert.rehearsal import Boot
from convert.report import Report
from tests.conftest import require
from tests.convert import boot_sector
from tests.convert.boot_sector import HALT, NEXT_DEVICE, RESTART, SWITCH_OFF
from tests.convert.memory import nic, source
from transferd.errors import ConversionError, UsageError
from transferd.model import BlockBus, Caps, Firmware, NicModel, Rehearsal

pytestmark = pytest.mark.boot

VIRTIO = Caps(block=BlockBus.VIRTIO, net=NicModel.VIRTIO, firmware=Firmware.BIOS, rng=True, balloon=True)
# A boot sector has spoken after two seconds; the machine may be busy.
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _qemu():
    require("qemu-system-x86_64", "qemu-img", "setpriv", "prlimit")


class Case:
    """One disk with its overlay, as a conversion leaves them before its commit."""

    def __init__(self, folder: Path):
        self.disk = folder / "disk.raw"
        self.work = folder / "work"
        self.work.mkdir()

    def boot(
        self, boot: Boot | None = None, caps: Caps = VIRTIO, source_vm=None, *, disks: int = 1
    ) -> Rehearsal:
        self.overlays = overlay.create([self.disk] * disks, self.work)
        self.before = self.content()
        vm = source_vm or source(nic(), nic("00:50:56:00:00:02"), capacities=(boot_sector.MIB,) * disks)
        return rehearsal.rehearse(boot or Boot(timeout=PATIENCE), self.overlays, vm, caps, self.work)

    def content(self) -> list[str]:
        files = [self.disk, *(each.path for each in self.overlays)]
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def machines(folder: Path) -> list[int]:
    """Processes that have this folder on their command line, but for the one that looks."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                str(folder).encode() in (process / "cmdline").read_bytes()
                and int(process.name) != os.getpid()
            ):
                found.append(int(process.name))
    return found


def test_a_login_prompt_proves_the_boot_which_leaves_nothing_but_its_log_and_its_screen(case):
    boot_sector.guest(case.disk, b"hello\r\n\r\nweb01 login: ", HALT, writes=True)
    found = case.boot()

    assert (found.outcome, found.seen) == ("login", "a login prompt")
    assert found.last_lines[-2:] == ["hello", "web01 login:"]
    assert 0 < found.seconds < PATIENCE
    assert b"web01 login:" in Path(found.serial_log).read_bytes()
    assert Path(str(found.screenshot)).read_bytes().startswith(b"\x89PNG")
    kept = {Path(found.serial_log).name, Path(str(found.screenshot)).name}
    assert {path.name for path in case.work.iterdir()} == {"overlay-0.qcow2", *kept}
    assert {path.stat().st_mode & 0o777 for path in map(case.work.joinpath, kept)} == {0o600}
    assert case.content() == case.before
    assert machines(case.work) == []


@pytest.mark.parametrize("block", BlockBus)
def test_the_second_disk_is_booted_from_where_the_guest_does_so(case, block):
    boot_sector.guest(case.disk, b"\r\nweb01 login: ", HALT)
    net = NicModel.VIRTIO if block is BlockBus.VIRTIO else NicModel.E1000E
    found = case.boot(caps=VIRTIO.model_copy(update={"block": block, "net": net, "boot_disk": 1}), disks=8)

    assert found.outcome == "login", found


@pytest.mark.parametrize(
    ("says", "then", "seen"),
    [
        (b"\r\n[    1.9] Kernel panic - not syncing: VFS", HALT, "kernel panic"),
        (b"\r\nGave up waiting for root file system device.", HALT, "waiting for the root"),
        (b"\r\nYou are in emergency mode.\r\nweb01 login: ", HALT, "emergency mode"),
        (b"\r\nerror: no such device: 5a3c\r\ngrub rescue> ", HALT, "grub rescue"),
        (b"", NEXT_DEVICE, "no bootable device"),
        (b"", RESTART, "it restarted 4 times"),
        (b"", SWITCH_OFF, "it switched itself off"),
    ],
    ids=["panic", "no root", "emergency", "grub rescue", "not bootable", "restarts", "off"],
)
def test_a_guest_that_cannot_boot_is_known_by(case, says, then, seen):
    boot_sector.guest(case.disk, says, then)
    found = case.boot()

    assert found.outcome == "failed"
    assert seen in found.seen
    assert case.content() == case.before
    assert machines(case.work) == []


def test_a_disk_with_nothing_on_it_is_not_bootable_under_uefi_either(case):
    case.disk.write_bytes(bytes(boot_sector.MIB))
    found = case.boot(caps=VIRTIO.model_copy(update={"firmware": Firmware.EFI}))

    assert (found.outcome, found.seen) == ("failed", "UEFI finds nothing to boot: its shell")


def test_the_text_that_is_waited_for_takes_the_place_of_a_login_prompt(case):
    boot_sector.guest(case.disk, b"\r\nweb01 login: \r\nservice is up", HALT)
    found = case.boot(Boot("service is up", PATIENCE))

    assert found.outcome == "sentinel"


def test_a_guest_that_shows_nothing_on_its_console_is_neither_proven_nor_refuted(case):
    boot_sector.guest(case.disk, b"a desktop", HALT)
    report = Report(Firmware.BIOS, lambda _: None)
    case.overlays = overlay.create([case.disk], case.work)
    vm = source(capacities=(boot_sector.MIB,))
    rehearsal.prove(Boot(timeout=3), case.overlays, vm, VIRTIO, case.work, report)

    assert report.rehearsal is not None
    assert report.rehearsal.outcome == "unknown"
    assert report.rehearsal.seconds < 20
    assert [warning.code for warning in report.warnings] == ["boot-not-proven"]
    assert str(report.rehearsal.screenshot) in str(report.warnings[0].remedy)


def test_a_sentinel_that_does_not_come_in_time_is_a_failure_of_exit_code_7(case):
    boot_sector.guest(case.disk, b"a desktop", HALT)
    report = Report(Firmware.BIOS, lambda _: None)
    case.overlays = overlay.create([case.disk], case.work)
    vm = source(capacities=(boot_sector.MIB,))
    with pytest.raises(ConversionError, match="sentinel was not on its serial console within 2 s"):
        rehearsal.prove(Boot("up", 2), case.overlays, vm, VIRTIO, case.work, report)

    assert report.result().rehearsal == report.rehearsal


def test_a_guest_that_never_stops_talking_costs_a_bounded_log_and_its_words_are_harmless(case):
    boot_sector.endless(case.disk, b"\x1b]0;title\x07\x1b[2J\xff" * 20)
    found = case.boot(Boot(timeout=5))

    assert found.outcome == "unknown"
    assert found.seconds < 30
    assert Path(found.serial_log).stat().st_size <= console.LIMIT
    assert all(line.isprintable() and len(line) <= console.WIDTH for line in found.last_lines)


def test_a_machine_that_cannot_be_made_is_this_machine_s_fault_and_says_why(case, monkeypatch, tmp_path):
    boot_sector.guest(case.disk, b"", HALT)
    broken = tmp_path / "bin" / "qemu-system-x86_64"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'no such machine' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # what is known of KVM is not of this QEMU
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")

    with pytest.raises(UsageError, match="QEMU failed with status 1: no such machine"):
        case.boot()


def test_no_machine_outlives_whoever_is_killed_while_it_runs(case):
    boot_sector.guest(case.disk, b"waiting", HALT)
    document = case.work / "source.json"
    document.write_text(source(capacities=(boot_sector.MIB,)).to_json())
    program = (
        "import sys; from pathlib import Path; from convert import overlay, rehearsal;"
        "from transferd.model import Caps, Firmware, SourceVM; work = Path(sys.argv[1]);"
        "vm = SourceVM.model_validate_json((work / 'source.json').read_text());"
        "overlays = overlay.create([work.parent / 'disk.raw'], work);"
        "rehearsal.rehearse(rehearsal.Boot(), overlays, vm, Caps.without_virtio(Firmware.BIOS), work)"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(case.work)])
    try:
        until = time.monotonic() + PATIENCE
        while len(machines(case.work)) < 2:  # itself and QEMU
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.1)
        time.sleep(1)
    finally:
        running.kill()
        running.wait()
    until = time.monotonic() + 5
    while machines(case.work):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--boot-sentinel", "up"], "nothing is booted"),
        (["--boot-timeout", "5"], "nothing is booted"),
        (["--boot", "--boot-sentinel", ""], "not 1 to 256 bytes"),
        (["--boot", "--boot-timeout", "0"], "--boot-timeout"),
    ],
)
def test_a_boot_that_cannot_be_meant_is_refused_with_one_line(case, options, words):
    case.disk.write_bytes(bytes(boot_sector.MIB))
    document = case.work / "source.json"
    document.write_text(source(capacities=(boot_sector.MIB,)).to_json())
    where = ["--source", document, "--result", case.work / "result.json", "--state", case.work]
    argv = [sys.executable, "-m", "convert", "apply", case.disk, *where, *options]
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
