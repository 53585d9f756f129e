"""Guests and documents that nobody would make on purpose, or only an enemy: rows B37 to B47 of the bad input
table.

What can be said without an appliance is said on a tree in memory. Rows B39 and B40 look at the guest that
hostile_guest.py converts; the disks of B37 and B38 are shown as many disks of one VM, because a launch is
what they cost. `python -m tests.torture images` has the long run.
"""

from __future__ import annotations

import dataclasses
import random
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert import pipeline
from convert.devices import Devices, FileSystem
from convert.linux.network import OUR_RULES
from convert.report import Report
from convert.tree import TEXT_LIMIT
from tests.conftest import require
from tests.convert import hostile_guest, malformed, phony
from tests.convert.memory import DEVICES, Memory, inspection, nic, wishes
from tests.convert.test_pipeline import fingerprints
from tests.convert.trees import A, B
from tests.convert.watched import command_lines, convert
from tests.guests.disk import MIB
from tests.torture import images
from transferd.errors import ConversionError
from transferd.model import Firmware

PATIENCE = 10.0
LAST = malformed.LAST


class Drawn:
    """A plan on a tree in memory, and what the report says of it."""

    def __init__(self, files, *nics, space=1 << 40, **facts):
        self.tree = Memory(files, space=space)
        self.report = Report(Firmware.BIOS, lambda _: None)
        facts = {"kernels": (phony.kernel(),), **facts}
        self.plan = pipeline.draw(self.tree, inspection(**facts), wishes(*nics), self.report)
        self.result = self.report.result()

    @property
    def codes(self) -> list[str]:
        return [warning.code for warning in self.result.warnings]

    def refusal(self) -> str:
        with pytest.raises(ConversionError) as refused:
            pipeline._demand_virtio(self.report)
        return str(refused.value)


# --- B37, B38: disks that contradict themselves ----------------------------------------------------------


@pytest.fixture
def vm(appliance, tmp_path):  # noqa: ARG001 (each VM is looked at in one)
    """Plans the conversion of a VM with these disks; the disks must stay as they are."""

    def plan(*disks):
        document = phony.document(tmp_path / "source.json", *disks)
        before = fingerprints(*disks)
        done = convert("plan", *disks, "--source", document)
        assert fingerprints(*disks) == before
        assert not [line for line in command_lines() if str(tmp_path) in line]
        return done

    return plan


def refusal(done) -> str:
    """The one line of an exit 7."""
    assert done.returncode == ConversionError.exit_code, done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("transferd-convert: error: ")] == lines[-1:]
    assert "Traceback" not in done.stderr
    return lines[-1]


TABLES = {
    "overlapping": lambda: malformed.gpt((2048, 8191), (4096, 12287), (2048, 2047)),
    "four-billion-partitions": lambda: malformed.gpt((2048, 8191), count=0xFFFFFFFF),
    "bad-checksum": lambda: malformed.gpt((2048, 8191), damage=1),
    "beyond-the-end": lambda: malformed.gpt((2048, 1 << 62), (34, LAST)),
    "endless-extended": malformed.endless_extended,
    "all-of-it-four-times": lambda: malformed.mbr(*[(0x83, 0, 0xFFFFFFFF)] * 4).ljust(malformed.SIZE, b"\0"),
    "array-without-its-other-half": lambda: malformed.array_member(0),
}


@pytest.mark.guestfs
def test_b37_tables_and_volumes_that_contradict_themselves_hold_no_system(vm, tmp_path):
    require("losetup", "cp")
    disks = []
    for name, content in TABLES.items():
        disks.append(tmp_path / f"{name}.raw")
        disks[-1].write_bytes(content())
    group = malformed.volume_group(tmp_path / "volume-group.raw")
    twin = tmp_path / "same-uuids-again.raw"
    twin.write_bytes(group.read_bytes())

    said = refusal(vm(*disks, group, twin))

    assert "no operating system found" in said
    assert all(disk.name in said for disk in (*disks, group, twin))


@pytest.mark.guestfs
def test_b38_damaged_file_systems_end_in_one_line_and_touch_nothing(vm, tmp_path):
    draw = random.Random(38)
    disks = []
    for kind in ("ext4", "xfs", "btrfs", "fat", "luks", "lvm"):
        make, places = malformed.SEEDS[kind]
        disks.append(make(tmp_path / f"{kind}.raw"))
        with disks[-1].open("r+b") as file:
            for _ in range(6):
                images._damage(file, *draw.choice(places), draw)

    said = refusal(vm(*disks))

    assert all(disk.name in said for disk in disks)


# --- B39, B40: files that are none, and texts that are commands ------------------------------------------


@pytest.mark.guestfs
def test_b39_links_fifos_devices_and_names_in_no_alphabet_do_not_stop_a_conversion(moved):
    assert moved.run.done.returncode == 0, moved.run.done.stderr[-2000:]
    assert all(check.ok for check in moved.result.checks)


@pytest.mark.guestfs
def test_b40_an_os_release_is_data_and_never_more(moved):
    guest = moved.result.guest

    assert guest.distro == "$(reboot)"
    assert guest.version == "<img src=x onerror=alert(1)>"
    assert guest.product == hostile_guest.PRODUCT


@pytest.mark.guestfs
def test_b39_an_fstab_of_100_mb_is_refused_with_its_size(vm, tmp_path):
    files = phony.debian(**{"/etc/fstab": phony.Sparse(100 * MIB)})

    said = refusal(vm(phony.make(tmp_path / "disk.raw", files)))

    assert f"/etc/fstab has {100 * MIB} bytes, more than the {TEXT_LIMIT}" in said


@pytest.mark.guestfs
def test_b39_an_etc_that_is_the_root_itself_is_followed_inside_the_guest_only(vm, tmp_path):
    files = {f"/{path.removeprefix('/etc/')}": content for path, content in phony.debian().items()}
    done = vm(phony.make(tmp_path / "disk.raw", {**files, "/etc": phony.Link("/")}))

    assert done.returncode == 0, done.stderr
    assert re.search(r"^write +(/etc)?/fstab ", done.stdout, re.MULTILINE)


def test_b39_thousands_of_names_that_mean_nothing_do_not_take_long_and_are_told_in_short():
    table = "".join(
        f"/dev/sd{a}{b}{n} /s ext4\n" for a in "klmnopqrst" for b in "abcde" for n in range(1, 101)
    )
    began = time.monotonic()
    drawn = Drawn({**phony.plain(), "/etc/fstab": table})

    assert time.monotonic() - began < PATIENCE
    assert "device-unresolved" in drawn.codes
    assert len(drawn.result.to_json()) < 64 * 1024


WORDS = [b"/dev/sda1", b"/", b"ext4", b"\\040", b"\xff", b"\0", b"\n", b" ", b"#", b"UUID=", b"LABEL=x"]
GARBAGE = st.binary(max_size=400) | st.lists(st.sampled_from(WORDS)).map(b" ".join)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GARBAGE, GARBAGE, GARBAGE)
def test_b39_garbage_in_the_tables_of_a_guest_is_kept_but_for_device_names(one, two, three):
    tables = {"/etc/fstab": one, "/etc/crypttab": two, "/etc/default/grub": three}
    drawn = Drawn({**phony.plain(), **tables})

    for change in drawn.plan.changes:
        for old, new in zip(tables.get(change.path, b"").split(), change.data.split(), strict=False):
            assert new == old or (b"/dev/" in old and b"UUID=" in new), change


# --- B41: injection --------------------------------------------------------------------------------------

TOKEN = b"pwned"
INJECTIONS = st.sampled_from(
    [
        '";touch /pwned;"',
        "$(touch /pwned)",
        "`pwned`",
        'x", RUN+="/pwned',
        "x\nRUN=pwned",
        "x\\n;pwned",
        "../../pwned",
        "x\nExecStart=/pwned;",
        "a b init=/pwned",
        "'; pwned #",
        "%pwned{x}",
        "pwned\x00",
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(INJECTIONS, min_size=6, max_size=6))
def test_b41_no_word_of_the_guest_gets_into_a_file_that_conversion_makes(words):
    name, host, label, unit, module, ident = words
    files = {
        **phony.plain(),
        "/etc/hostname": host,
        "/etc/network/interfaces": f"auto {name}\niface {name} inet static\n\taddress 192.0.2.7/24\n",
        "/etc/udev/rules.d/70-persistent-net.rules": f'ATTR{{address}}=="{A}", NAME="{name}"\n',
        "/etc/sysconfig/network-scripts/ifcfg-x": f"HWADDR={A}\nDEVICE={name}\n",
        "/etc/systemd/network/05-x.link": f"[Match]\nMACAddress={A}\n[Link]\nName={name}\n",
        "/etc/NetworkManager/system-connections/x": f"[connection]\ntype=ethernet\ninterface-name={name}\n",
        "/etc/netplan/x.yaml": f"network: {{ethernets: {{'{name}': {{match: {{macaddress: '{A}'}}}}}}}}",
        "/etc/crypttab": f"{name} /dev/sda1 {label}\n",
        f"{phony.MODULES}/modules.dep": f"{phony.modules_dep()}kernel/{module}.ko:\n",
        f"/usr/lib/systemd/system/{unit.replace('/', '-')}.service": "[Service]\n",
    }
    marked = tuple(
        FileSystem(f.device, f.kind, f.disk, f.partition, f.uuid, label) for f in DEVICES.filesystems
    )
    drawn = Drawn(files, nic(A, slot=192), devices=Devices(marked), release={"ID": ident})

    for change in drawn.plan.changes:
        old = drawn.tree.content.get(change.path)
        if change.action == "append":
            continue  # its own file of modules: what is in it is the guest's
        assert change.data.count(TOKEN) == (old or b"").count(TOKEN), change
        assert old is not None or TOKEN not in change.path.encode(), change
        assert ".." not in change.path, change


# --- B45: guests that are none, or unlike any ------------------------------------------------------------


@pytest.mark.guestfs
def test_b45_two_systems_are_refused_with_both_of_them_named(vm, tmp_path):
    disks = [tmp_path / f"{name}.raw" for name in ("old", "new", "blank", "data")]
    systems = (phony.UUID, hostile_guest.UUID)
    for image, uuid in zip(disks, systems, strict=False):
        phony.make(image, phony.debian(**{"/etc/fstab": f"UUID={uuid} / ext4 defaults 0 1\n"}), uuid=uuid)
    disks[2].write_bytes(bytes(MIB))
    phony.make(disks[3], {"/lost+found/x": "x"}, uuid="5a3c9f0e-0000-4000-8000-0000000000dd")

    said = refusal(vm(*disks))

    assert "more than one operating system" in said
    assert all(uuid in said for uuid in systems)


def test_b45_a_distribution_that_nobody_knows_is_converted_by_what_it_can_do():
    drawn = Drawn(phony.plain(), release={"ID": "plan9", "PRETTY_NAME": "Plan 9"})

    assert drawn.report.caps.block == "virtio"
    assert drawn.result.guest.product == "Plan 9"


def test_b45_a_guest_that_says_nothing_of_itself_is_converted_by_what_it_can_do():
    drawn = Drawn(
        phony.plain(), release={}, init=None, systemd=None, network=(), initramfs=None, bootloader=None
    )

    assert drawn.report.caps.block == "virtio"
    assert drawn.result.guest.distro is None


def test_b45_a_32_bit_guest_is_told_and_converted():
    drawn = Drawn(phony.plain(), arch="i386")

    assert drawn.result.guest.arch == "i386"
    assert drawn.report.caps.block == "virtio"


# --- B46: what a conversion needs of the guest and does not find -----------------------------------------


def test_b46_a_guest_without_kernels_is_refused():
    drawn = Drawn(phony.plain(), kernels=())

    assert "VirtIO cannot be proven: no kernel" in drawn.refusal()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({f"/boot/initrd.img-{phony.KERNEL}": b""}, "initramfs"),
        ({f"/boot/initrd.img-{phony.KERNEL}": b"\x1f\x8b" + b"junk" * 100}, "cannot be read"),
        ({f"{phony.MODULES}/modules.dep": b"\xff" * 1000}, "it has no virtio_pci"),
        ({f"{phony.MODULES}/modules.dep": b"a.ko: a.ko\n" * 1000}, "it has no virtio_pci"),
    ],
    ids=["an empty image", "a broken image", "no index", "an index in circles"],
)
def test_b46_a_kernel_that_cannot_be_proven_is_refused_with_the_reason(files, problem):
    assert problem in Drawn({**phony.plain(), **files}).refusal()


def test_b46_a_kernel_without_an_image_is_refused_with_the_reason():
    drawn = Drawn(phony.plain(), kernels=(dataclasses.replace(phony.kernel(), initrd=None),))

    assert "it has no initramfs" in drawn.refusal()


def test_b46_a_full_boot_is_refused_with_what_it_needs():
    assert "/boot has 0 MiB free" in Drawn(phony.plain(), space=0).refusal()


DATABASES = (
    *("/var/lib/rpm/Packages", "/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite"),
    *("/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/pacman/local/x/desc"),
)


@pytest.mark.parametrize("content", [b"\0" * 4096, b"\xff" * 100_000, b"Package: x\n" * 10_000])
def test_b46_package_databases_in_ruins_do_not_stop_a_conversion(content):
    places = (
        "/var/lib/rpm/Packages",
        "/var/lib/rpm/rpmdb.sqlite",
        "/var/lib/dpkg/status",
        "/lib/apk/db/installed",
    )
    drawn = Drawn({**phony.plain(), **dict.fromkeys(places, content)})

    assert drawn.report.caps.block == "virtio"


# --- B47: NICs -------------------------------------------------------------------------------------------

ENS = "".join(f"iface ens{slot} inet dhcp\n" for slot in range(160, 480, 32))


def named(*nics, interfaces=ENS):
    drawn = Drawn({**phony.plain(), "/etc/network/interfaces": interfaces}, *nics)
    rules = next((change.data for change in drawn.plan.changes if change.path == OUR_RULES), b"")
    codes = [code for code in drawn.codes if code.startswith(("nic-", "network-"))]
    return {found.name for found in drawn.result.nics}, codes, rules.count(b"NAME=")


def test_b47_two_nics_with_one_mac_are_told_and_none_of_them_is_pinned():
    names, codes, pinned = named(nic(A, slot=192), nic(A, slot=224))

    assert names == {None}
    assert codes.count("nic-unresolved") == 2
    assert pinned == 0


def test_b47_a_vm_without_nics_is_converted_without_a_word_on_them():
    assert named() == (set(), [], 0)


def test_b47_ten_nics_keep_ten_names():
    nics = [nic(f"00:50:56:00:00:{at:02x}", slot=160 + 32 * at) for at in range(10)]
    names, codes, pinned = named(*nics)

    assert names == {f"ens{160 + 32 * at}" for at in range(10)}
    assert (codes, pinned) == ([], 10)


def test_b47_a_nic_that_knows_ipv6_alone_is_found_by_it():
    wan, lan = ("iface wan inet6 static\n\taddress 2001:db8::1/64\n", "iface lan inet6 static\n")
    interfaces = f"{wan}{lan}\taddress 2001:db8:0::7/64\n"
    names, codes, pinned = named(nic(A, ips=("2001:db8::7",)), interfaces=interfaces)

    assert (names, codes, pinned) == ({"lan"}, [], 1)


def test_b47_a_mac_that_is_in_no_file_is_told():
    names, codes, _ = named(nic(A, slot=192), nic(B), interfaces="iface ens192 inet dhcp\n")

    assert names == {"ens192", None}
    assert codes == ["nic-unresolved"]


@pytest.mark.parametrize(
    "mac", ["", "00:50:56", "00:50:56:00:00:0g", "00-50-56-00-00-01", "00:50:56:00:00:01\n"]
)
def test_b47_an_invalid_mac_is_a_usage_error_that_names_its_place(tmp_path, mac):
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    document = phony.document(tmp_path / "source.json", tmp_path / "disk.raw", nics=[nic(mac)])
    done = convert("plan", tmp_path / "disk.raw", "--source", document)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nics.0.mac: not a MAC address in lower case with colons" in done.stderr
