"""The guest's own initramfs tool keeps the drivers and the names: what each is told, to the letter."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from convert.linux.kernels import bring_virtio
from convert.linux.persistence import keep
from tests.convert.images import DEP, VIRTIO, main, root
from tests.convert.memory import Memory, inspection, wishes

INITRD = "/boot/initrd.img"
LINK = "/etc/systemd/network/10-transferd-ens192.link"
RULES = "/etc/udev/rules.d/70-transferd-net.rules"
NAMING = (LINK, RULES)
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net")
JOINED = " ".join(DRIVERS)
NOTE = (
    "# Written by transferd: drivers of the hardware that this guest was moved to, and its interface names.\n"
)
BEGIN, END = "# BEGIN transferd: drivers of the hardware that this guest was moved to\n", "# END transferd\n"

# tool -> files of the guest as they are, and all that is written
TOLD: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "initramfs-tools": (
        "initramfs-tools",
        {"/etc/initramfs-tools/modules": "# mine\nloop"},
        {"/etc/initramfs-tools/modules": f"# mine\nloop\n{BEGIN}virtio_pci\nvirtio_blk\nvirtio_net\n{END}"},
    ),
    "dracut": (
        "dracut",
        {},
        {
            "/etc/dracut.conf.d/50-transferd.conf": f'{NOTE}add_drivers+=" {JOINED} "\n'
            f'install_items+=" {LINK} {RULES} "\n'
        },
    ),
    "mkinitcpio": (
        "mkinitcpio",
        {"/etc/mkinitcpio.conf": "MODULES=(vmw_pvscsi)\nFILES=()\nHOOKS=(base udev)\n"},
        {
            "/etc/mkinitcpio.conf": "MODULES=(vmw_pvscsi)\nFILES=()\nHOOKS=(base udev)\n"
            f"{BEGIN}MODULES+=({JOINED})\nFILES+=({LINK} {RULES})\n{END}"
        },
    ),
    "mkinitcpio of strings": (
        "mkinitcpio",
        {"/etc/mkinitcpio.conf": 'MODULES="vmw_pvscsi"\nFILES=""\n'},
        {
            "/etc/mkinitcpio.conf": 'MODULES="vmw_pvscsi"\nFILES=""\n'
            f'{BEGIN}MODULES="$MODULES {JOINED}"\nFILES="$FILES {LINK} {RULES}"\n{END}'
        },
    ),
    "mkinitfs": (
        "mkinitfs",
        {"/etc/mkinitfs/mkinitfs.conf": 'features="ata base ext4 scsi"\n'},
        {
            "/etc/mkinitfs/features.d/transferd.modules": "kernel/drivers/virtio/virtio_pci.ko*\n"
            "kernel/drivers/block/virtio_blk.ko*\nkernel/drivers/net/virtio_net.ko*\n",
            "/etc/mkinitfs/features.d/transferd.files": f"{LINK}\n{RULES}\n",
            "/etc/mkinitfs/mkinitfs.conf": 'features="ata base ext4 scsi transferd"\n',
        },
    ),
    "SUSE's mkinitrd": (
        "mkinitrd",
        {"/etc/sysconfig/kernel": '# modules\nINITRD_MODULES="vmw_pvscsi virtio_pci ext3"\nKERNEL=1\n'},
        {
            "/etc/sysconfig/kernel": "# modules\n"
            'INITRD_MODULES="vmw_pvscsi virtio_pci ext3 virtio_blk virtio_net"\nKERNEL=1\n'
        },
    ),
    "SUSE's mkinitrd with a list over several lines": (
        "mkinitrd",
        {"/etc/sysconfig/kernel": 'INITRD_MODULES="vmw_pvscsi\\\n ext3"\n'},
        {
            "/etc/sysconfig/kernel": 'INITRD_MODULES="vmw_pvscsi\\\n ext3"\n'
            f'INITRD_MODULES="$INITRD_MODULES {JOINED}"\n'
        },
    ),
    "booster": (
        "booster",
        {"/etc/booster.yaml": "compression: zstd\nmodules: nvme,virtio_blk # mine\n"},
        {"/etc/booster.yaml": "compression: zstd\nmodules: nvme,virtio_blk,virtio_pci,virtio_net # mine\n"},
    ),
    "booster without configuration": (
        "booster", {}, {"/etc/booster.yaml": "modules: virtio_pci,virtio_blk,virtio_net\n"}
    ),
    "make-initrd": (
        "make-initrd",
        {"/etc/initrd.mk": "FEATURES += add-modules\n"},
        {
            "/etc/initrd.mk": "FEATURES += add-modules\n"
            f"{BEGIN}MODULES_ADD += {JOINED}\nPUT_FILES += {LINK} {RULES}\n{END}"
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tool", "files", "written"), TOLD.values(), ids=TOLD)
def test_a_tool_is_told_in_its_own_language(tool, files, written):
    kept = keep(Memory(dict(files)), tool, DRIVERS, NAMING)

    assert {change.path: change.data.decode() for change in kept.changes} == written
    assert kept.warnings == ()


@pytest.mark.parametrize(("tool", "files", "written"), TOLD.values(), ids=TOLD)
def test_a_tool_that_has_been_told_is_not_told_again(tool, files, written):
    assert keep(Memory({**files, **written}), tool, DRIVERS, NAMING).changes == ()


def test_what_stands_behind_our_block_stays():
    tree = Memory({"/etc/initramfs-tools/modules": f"loop\n{BEGIN}old\n{END}more\n"})
    (change,) = keep(tree, "initramfs-tools", DRIVERS, ()).changes

    assert change.data.decode() == f"loop\n{BEGIN}virtio_pci\nvirtio_blk\nvirtio_net\n{END}more\n"


def test_a_block_whose_end_somebody_took_away_costs_nothing_of_what_follows():
    tree = Memory({"/etc/initramfs-tools/modules": f"{BEGIN}old\nmine\n"})
    (change,) = keep(tree, "initramfs-tools", DRIVERS, ()).changes

    assert change.data.decode().endswith(f"{END}old\nmine\n")


@pytest.mark.parametrize(
    ("tool", "files"),
    [(None, {}), ("nobody", {}), ("mkinitrd", {"/etc/sysconfig/kernel": "UPDATEDEFAULT=yes\n"})],
    ids=["none", "unknown", "Red Hat's mkinitrd"],
)
def test_a_tool_that_we_do_not_know_is_a_warning(tool, files):
    kept = keep(Memory(dict(files)), tool, DRIVERS, NAMING)

    assert kept.changes == ()
    assert [warning.code for warning in kept.warnings] == ["initramfs-not-persistent"]


def test_shells_read_the_lists_as_they_are_meant(tmp_path):
    """mkinitcpio.conf, mkinitfs.conf and /etc/sysconfig/kernel are read by shells; so are dracut's files."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    for tool, files, written in TOLD.values():
        if tool in ("mkinitcpio", "mkinitfs", "mkinitrd", "dracut"):
            path = next(path for path in (*files, *written) if "features.d" not in path)
            (tmp_path / "read").write_text(written[path])
            script = 'add_drivers=" loop"; . "$1"; echo ${MODULES[@]} $features $INITRD_MODULES $add_drivers'
            said = subprocess.run(
                ["bash", "-c", script, "bash", str(tmp_path / "read")],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            assert {"transferd"} <= set(said) or set(DRIVERS) <= set(said)


def converted(tool: str, initrd: bytes, **files: str):
    return bring_virtio(root({INITRD: initrd}, **files), inspection(initramfs=tool), wishes())


def paths(contribution) -> list[str]:
    return [change.path for change in contribution.changes]


def test_a_tool_is_told_when_drivers_were_appended():
    assert paths(converted("dracut", main())) == ["/etc/dracut.conf.d/50-transferd.conf", INITRD]


def test_a_tool_is_told_to_take_along_the_names_that_were_appended():
    contribution = converted("dracut", main(modules=tuple(VIRTIO)), **{LINK: "[Match]\n"})

    assert paths(contribution) == ["/etc/dracut.conf.d/50-transferd.conf", INITRD]
    assert LINK in contribution.changes[0].data.decode()


def test_a_tool_whose_image_has_everything_is_left_in_peace():
    assert paths(converted("dracut", main(modules=tuple(VIRTIO)))) == []


def test_only_drivers_that_every_kernel_knows_are_asked_for():
    """mkinitcpio fails for a module that is not there."""
    (change, _) = converted("mkinitcpio", main()).changes
    assert "virtio_scsi" not in DEP
    assert f"MODULES+=({JOINED})" in change.data.decode()
