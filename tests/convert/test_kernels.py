"""Every kernel finds VirtIO, or the proof says why not."""

from __future__ import annotations

import gzip

import pytest

from convert import capabilities, cpio
from convert.inspection import Kernel
from convert.linux.kernels import DROP_IN, bring_virtio, examine
from convert.linux.segment import read_image
from tests.convert.memory import KERNEL, SWAP_UUID, Memory, inspection, wishes
from transferd.model import BlockBus, Firmware

ROOT = "/lib/modules/6.1.0-50-amd64"
INITRD = "/boot/initrd.img"
LINK = "/etc/systemd/network/10-transferd-ens192.link"
DEP = """\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/net/net_failover.ko:
kernel/drivers/scsi/vmw_pvscsi.ko:
"""
VIRTIO = [line.partition(":")[0] for line in DEP.splitlines() if "vmw" not in line]
PVSCSI = "kernel/drivers/scsi/vmw_pvscsi.ko"


def image(*extra: cpio.Entry, modules: tuple[str, ...] = (PVSCSI,), lib: str = "usr/lib") -> bytes:
    merged = [cpio.Entry("lib", 0o120777, b"usr/lib"), cpio.folder("usr"), cpio.folder("usr/lib")]
    start = merged if lib == "usr/lib" else [cpio.folder("lib")]
    held = [cpio.file(f"{lib}/modules/6.1.0-50-amd64/{module}", b"module") for module in modules]
    return gzip.compress(cpio.segment([*start, cpio.folder("conf"), *held, *extra]))


def guest(initrd: bytes, *, dep: str = DEP, builtin: str = "", **files: str) -> Memory:
    modules = {f"{ROOT}/{line.partition(':')[0]}": f"the module {line}" for line in dep.splitlines()}
    indexes = {
        f"{ROOT}/modules.dep": dep,
        f"{ROOT}/modules.builtin": builtin,
        f"{ROOT}/modules.alias": "aliases",
    }
    return Memory({INITRD: initrd, DROP_IN: "# mine\nloop\n", **modules, **indexes, **files})


def run(tree: Memory, **facts):
    return bring_virtio(tree, inspection(**facts), wishes())


def listing_of(tree: Memory):
    return read_image(tree, INITRD, KERNEL.version).listing


def test_a_kernel_with_everything_compiled_in_needs_nothing():
    contribution = run(guest(image(), dep="", builtin="\n".join(VIRTIO)))

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == "builtin"


def test_a_kernel_whose_initramfs_has_the_drivers_needs_nothing():
    contribution = run(guest(image(modules=tuple(VIRTIO))))

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == "initramfs"


def test_missing_drivers_are_appended_with_all_they_depend_on_and_the_whole_indexes():
    tree = guest(image())
    contribution = run(tree)
    held = listing_of(tree.after(contribution.changes)).kinds

    assert contribution.proofs[0].weakest == "appended"
    folder = "usr/lib/modules/6.1.0-50-amd64"
    assert {
        f"{folder}/{name}" for name in (*VIRTIO, "modules.dep", "modules.alias", "modules.builtin")
    } <= set(held)
    assert held["lib"] == "link"


def test_the_segment_starts_on_a_sector_and_leaves_what_was_there():
    tree = guest(image())
    old = tree.content[INITRD]
    (append, *_) = run(tree).changes
    new = old + append.data

    assert new.startswith(old)
    assert new[len(old) :].lstrip(b"\0").startswith(b"070701")
    assert new.index(b"070701", len(old)) % 512 == 0


def test_an_image_with_its_own_lib_folder_gets_the_modules_there():
    tree = guest(image(lib="lib"))
    held = listing_of(tree.after(run(tree).changes)).kinds

    assert f"lib/modules/6.1.0-50-amd64/{VIRTIO[0]}" in held
    assert not any(name.startswith("usr") for name in held)


def test_modules_that_the_image_holds_unpacked_come_along_as_the_root_has_them():
    """The root's indexes, which replace the image's, know only vmw_pvscsi.ko.xz."""
    tree = guest(image(), dep=DEP.replace(".ko", ".ko.xz"))
    held = listing_of(tree.after(run(tree).changes)).kinds

    assert f"usr/lib/modules/6.1.0-50-amd64/{PVSCSI}.xz" in held


def test_naming_files_are_put_into_an_image_that_has_its_drivers():
    tree = guest(image(modules=tuple(VIRTIO)), **{LINK: "[Match]\n"})
    contribution = run(tree)

    assert listing_of(tree.after(contribution.changes)).texts == {LINK.removeprefix("/"): b"[Match]\n"}
    assert contribution.proofs[0].weakest == "initramfs"


def test_naming_files_that_update_initramfs_has_moved_to_lib_are_found():
    moved = cpio.file("usr/lib/systemd/network/10-transferd-ens192.link", b"[Match]\n")
    tree = guest(image(moved, modules=tuple(VIRTIO)), **{LINK: "[Match]\n"})

    assert run(tree).changes == ()


def test_the_images_own_resume_device_gets_a_uuid():
    resume = [cpio.folder("conf/conf.d"), cpio.file("conf/conf.d/resume", b"RESUME=/dev/sda2\n")]
    tree = guest(image(*resume))

    assert (
        listing_of(tree.after(run(tree).changes)).texts["conf/conf.d/resume"]
        == f"RESUME=UUID={SWAP_UUID}\n".encode()
    )


def test_the_next_update_initramfs_keeps_the_drivers():
    tree = guest(image())
    (_, drop_in) = run(tree).changes

    assert drop_in.data.decode().startswith("# mine\nloop\n# BEGIN transferd")
    assert {"virtio_pci", "virtio_blk", "virtio_net"} <= set(drop_in.data.decode().split())


def test_another_initramfs_tool_is_a_warning():
    assert [w.code for w in run(guest(image()), initramfs="dracut").warnings] == ["initramfs-not-persistent"]


def test_a_second_run_changes_nothing():
    tree = guest(image(), **{LINK: "[Match]\n"})
    converted = tree.after(run(tree).changes)

    assert run(converted).changes == ()
    assert examine(converted, inspection())[0].weakest == "initramfs"


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (guest(image(), dep=DEP.replace("virtio_blk", "xen_blk")), "it has no virtio_blk"),
        (guest(b"\x02\x21\x4c\x18" + bytes(100)), "lz4"),
        (Memory(guest(image()).content, space=1 << 20), "1 MiB free"),
    ],
    ids=["no such module", "unreadable initramfs", "full /boot"],
)
def test_without_proof_the_reason_is_named_and_nothing_is_planned(tree, reason):
    contribution = run(tree)

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == "missing"
    assert reason in contribution.proofs[0].problem


def test_a_guest_without_proof_gets_hardware_that_it_can_drive():
    proofs = run(guest(image(), dep="")).proofs

    assert capabilities.of(inspection(), proofs, Firmware.BIOS).block is BlockBus.SATA


def test_an_old_kernel_without_virtio_is_a_warning_and_not_a_failure():
    old = Kernel("2.6.32", "/boot/vmlinuz-2.6.32", "/lib/modules/2.6.32", None, default=False)
    contribution = run(guest(image()), kernels=(KERNEL, old))

    assert [proof.weakest for proof in contribution.proofs] == ["appended", "missing"]
    assert [warning.code for warning in contribution.warnings] == ["kernel-without-virtio"]
    assert capabilities.of(inspection(), contribution.proofs, Firmware.BIOS).block is BlockBus.VIRTIO


def test_modules_dep_that_names_a_file_which_is_not_there_is_refused():
    tree = guest(image())
    del tree.content[f"{ROOT}/{VIRTIO[0]}"]

    assert run(tree).proofs[0].weakest == "missing"
