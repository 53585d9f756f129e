"""Every kernel finds VirtIO, or the proof says why not."""

from __future__ import annotations

import dataclasses
import lzma

import pytest
import zstandard

from convert import capabilities, cpio, unpacker
from convert.devices import FileSystem
from convert.inspection import Kernel
from convert.linux.kernels import bring_virtio
from convert.linux.looks import examine
from convert.linux.segment import read_image
from tests.convert.images import (
    COMPRESSIONS,
    DEP,
    FOLDER,
    PVSCSI,
    UDEV,
    VIRTIO,
    main,
    root,
    unified,
)
from tests.convert.memory import DEVICES, KERNEL, SWAP_UUID, Memory, inspection, wishes
from transferd.model import BlockBus, Firmware

INITRD = "/boot/initrd.img"
LINK = "/etc/systemd/network/10-transferd-ens192.link"
MICROCODE = cpio.segment([cpio.folder("kernel"), cpio.file("kernel/microcode", b"m" * 1000)])
HELD = tuple(VIRTIO)


def guest(initrd: bytes, **different) -> Memory:
    return root({INITRD: initrd}, **different)


def run(tree: Memory, **facts):
    return bring_virtio(tree, inspection(**facts), wishes())


def listing_of(tree: Memory, path: str = INITRD):
    return read_image(tree, path).listing


def appended(contribution) -> list:
    return [change for change in contribution.changes if change.action == "append"]


def kernel(version: str, *, initrd: str | None = None, default: bool = False) -> Kernel:
    modules = f"/lib/modules/{version}"
    return Kernel(version, f"/boot/vmlinuz-{version}", modules, initrd, default=default)


def modules_of(version: str) -> dict[str, str | bytes]:
    """The same modules for another kernel of the guest."""
    tree = root({})
    return {path.replace(KERNEL.version, version): data for path, data in tree.content.items()}


# --- proofs that need nothing -------------------------------------------------------------------------------


def test_a_kernel_with_everything_compiled_in_needs_nothing():
    contribution = run(guest(main(), dep="", builtin="\n".join(VIRTIO)))

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == "builtin"


@pytest.mark.parametrize("modules", ["/lib/modules/6.1.155-amzn", "/usr/lib/modules/6.1.155-photon"])
def test_a_kernel_with_everything_compiled_in_needs_no_initramfs(modules):
    bare = dataclasses.replace(KERNEL, initrd=None, modules=modules)
    tree = Memory({f"{modules}/modules.dep": "", f"{modules}/modules.builtin": "\n".join(VIRTIO)})
    contribution = run(tree, kernels=(bare,))

    assert (contribution.changes, contribution.warnings) == ((), ())
    assert contribution.proofs[0].weakest == "builtin"


def test_without_an_index_the_kernels_configuration_says_what_is_compiled_in():
    configuration = (
        "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_NET=y\n# CONFIG_SCSI_VIRTIO is off\n"
    )
    tree = guest(main(), dep="", builtin=None, **{f"/boot/config-{KERNEL.version}": configuration})

    assert run(tree).proofs[0].weakest == "builtin"


def test_a_kernel_whose_initramfs_has_the_drivers_needs_nothing():
    contribution = run(guest(main(modules=HELD)))

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == "initramfs"


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_drivers_that_the_image_holds_in_another_packing_are_the_same_drivers(suffix):
    """dracut keeps `.ko.xz`; mkinitcpio unpacks what the root has as `.ko.zst`."""
    tree = guest(main(modules=HELD), dep=DEP.replace(".ko", f".ko{suffix}"))
    contribution = run(tree)

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == "initramfs"


# --- what is appended ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_missing_drivers_are_appended_with_all_they_depend_on_and_the_whole_indexes(name):
    tree = guest(MICROCODE + COMPRESSIONS[name](main()))
    contribution = run(tree)
    held = listing_of(tree.after(contribution.changes)).kinds

    assert contribution.proofs[0].weakest == "appended"
    indexes = ("modules.dep", "modules.alias", "modules.builtin")
    assert {f"{FOLDER}/{path}" for path in (*VIRTIO, *indexes)} <= set(held)
    assert held["lib"] == "link"


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_second_run_changes_nothing(name):
    tree = guest(COMPRESSIONS[name](main()), **{LINK: "[Match]\n"})
    converted = tree.after(run(tree).changes)

    assert run(converted).changes == ()
    assert examine(converted, inspection())[0].weakest == "initramfs"


def test_the_segment_starts_on_a_sector_and_leaves_what_was_there():
    tree = guest(COMPRESSIONS["gzip"](main()) + bytes(77))
    old = tree.content[INITRD]
    (append,) = appended(run(tree))
    new = old + append.data

    assert new.startswith(old)
    assert new[len(old) :].lstrip(b"\0").startswith(b"070701")
    assert new.index(b"070701", len(old)) % 512 == 0


def test_behind_lz4_comes_another_stream_of_lz4_without_padding():
    tree = guest(COMPRESSIONS["lz4"](main()))
    (append,) = appended(run(tree))

    assert append.data.startswith(b"\x02\x21\x4c\x18")


def test_lz4_that_ends_in_padding_is_not_extended():
    contribution = run(guest(COMPRESSIONS["lz4"](main()) + bytes(4)))

    assert contribution.proofs[0].weakest == "missing"
    assert "zero bytes behind LZ4 data" in contribution.proofs[0].problem


def test_an_image_with_its_own_lib_folder_gets_the_modules_there():
    tree = guest(main(folder=f"lib/modules/{KERNEL.version}"))
    held = listing_of(tree.after(run(tree).changes)).kinds

    assert f"lib/modules/{KERNEL.version}/{VIRTIO[0]}" in held
    assert not any(name.startswith("usr/lib/modules") for name in held)


def test_an_image_with_the_modules_of_another_kernel_gets_a_folder_for_this_one():
    tree = guest(main(folder="usr/lib/modules/5.10.0-9-amd64"))
    held = listing_of(tree.after(run(tree).changes)).kinds

    assert held[FOLDER] == "folder"
    assert f"{FOLDER}/{VIRTIO[0]}" in held


def test_modules_that_the_indexes_name_differently_are_reached_by_links():
    """The root's indexes, which replace the image's, know only vmw_pvscsi.ko.xz."""
    packed = {f"{KERNEL.modules}/{path}.xz": lzma.compress(b"\x7fELF") for path in VIRTIO}
    tree = guest(main(), dep=DEP.replace(".ko", ".ko.xz"), **packed)
    listing = listing_of(tree.after(run(tree).changes))

    assert listing.links[f"{FOLDER}/{PVSCSI}.xz"] == "vmw_pvscsi.ko"
    assert listing.real(f"{FOLDER}/{PVSCSI}.xz") == f"{FOLDER}/{PVSCSI}"


def content_behind(tree: Memory, path: str) -> bytes:
    """What a file holds in the segment that our change appends."""
    (append,) = appended(run(tree))
    stream = unpacker.Stream(iter([append.data]))
    return next(f.text for f in cpio.read(stream, lambda name: name == path, 1 << 20) if f.name == path)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".xz", lzma.compress), (".zst", zstandard.compress), (".gz", COMPRESSIONS["gzip"])],
)
def test_an_image_whose_modules_are_not_packed_gets_unpacked_ones_under_the_names_of_the_indexes(
    suffix, pack
):
    """Its modprobe may not know the compression; it looks at the first bytes of the file, not at its name."""
    packed = {f"{KERNEL.modules}/{path}{suffix}": pack(b"\x7fELF module") for path in VIRTIO}
    tree = guest(main(), dep=DEP.replace(".ko", f".ko{suffix}"), **packed)

    assert content_behind(tree, f"{FOLDER}/{VIRTIO[0]}{suffix}") == b"\x7fELF module"


def test_an_image_whose_modules_are_packed_gets_them_as_they_are():
    packed = {f"{KERNEL.modules}/{path}.xz": lzma.compress(b"\x7fELF module") for path in VIRTIO}
    tree = guest(main(modules=(f"{PVSCSI}.xz",)), dep=DEP.replace(".ko", ".ko.xz"), **packed)

    assert content_behind(tree, f"{FOLDER}/{VIRTIO[0]}.xz") == lzma.compress(b"\x7fELF module")


def test_a_module_that_cannot_be_unpacked_is_named_as_the_reason():
    packed = {f"{KERNEL.modules}/{path}.xz": b"\xfd7zXZ\x00 broken" for path in VIRTIO}
    proof = run(guest(main(), dep=DEP.replace(".ko", ".ko.xz"), **packed)).proofs[0]

    assert (proof.weakest, "xz data is broken" in proof.problem) == ("missing", True)


# --- names and settings -------------------------------------------------------------------------------------


def test_naming_files_are_put_into_an_image_that_has_its_drivers():
    tree = guest(main(modules=HELD), **{LINK: "[Match]\n"})
    contribution = run(tree)

    assert listing_of(tree.after(contribution.changes)).texts == {LINK.removeprefix("/"): b"[Match]\n"}
    assert contribution.proofs[0].weakest == "initramfs"


def test_naming_files_that_update_initramfs_has_moved_to_lib_are_found():
    moved = cpio.file("usr/lib/systemd/network/10-transferd-ens192.link", b"[Match]\n")
    tree = guest(main(moved, modules=HELD), **{LINK: "[Match]\n"})

    assert run(tree).changes == ()


def test_names_that_find_no_place_in_the_image_are_reported():
    tree = guest(main(modules=HELD), **{LINK: "[Match]\n"})
    contribution = run(Memory(tree.content, space=1 << 20))

    assert contribution.proofs[0].weakest == "initramfs"
    assert [warning.code for warning in contribution.warnings] == ["initramfs-without-names"]


def test_the_images_own_resume_device_gets_a_uuid():
    resume = [cpio.folder("conf/conf.d"), cpio.file("conf/conf.d/resume", b"RESUME=/dev/sda2\n")]
    tree = guest(main(*resume))

    texts = listing_of(tree.after(run(tree).changes)).texts
    assert texts["conf/conf.d/resume"] == f"RESUME=UUID={SWAP_UUID}\n".encode()


def test_a_blacklist_that_the_image_carries_becomes_a_comment_there_too():
    settings = b"blacklist virtio_net\noptions loop max_loop=8\n"
    carried = [
        cpio.folder("etc"),
        cpio.folder("etc/modprobe.d"),
        cpio.file("etc/modprobe.d/x.conf", settings),
    ]
    tree = guest(main(*carried))

    texts = listing_of(tree.after(run(tree).changes)).texts
    assert texts["etc/modprobe.d/x.conf"] == b"# blacklist virtio_net\noptions loop max_loop=8\n"


# --- several kernels ----------------------------------------------------------------------------------------

OLD = "5.10.0-9-amd64"


def test_every_kernel_gets_its_own_drivers_into_its_own_image():
    old_image = f"/boot/initrd.img-{OLD}"
    tree = guest(main(), **modules_of(OLD), **{old_image: main(folder=f"usr/lib/modules/{OLD}")})
    contribution = run(tree, kernels=(kernel(OLD, initrd=old_image), KERNEL))
    after = tree.after(contribution.changes)

    assert [(proof.version, proof.weakest) for proof in contribution.proofs] == [
        (OLD, "appended"),
        (KERNEL.version, "appended"),
    ]
    assert f"usr/lib/modules/{OLD}/{VIRTIO[0]}" in listing_of(after, old_image).kinds
    assert f"{FOLDER}/{VIRTIO[0]}" in listing_of(after).kinds


def test_an_image_that_several_kernels_share_is_extended_once_for_all_of_them():
    tree = guest(main(), **modules_of(OLD))
    kernels = (kernel(OLD, initrd=INITRD), KERNEL)
    contribution = run(tree, kernels=kernels)
    after = tree.after(contribution.changes)
    held = listing_of(after).kinds

    assert len(appended(contribution)) == 1
    assert {f"usr/lib/modules/{OLD}/{VIRTIO[0]}", f"{FOLDER}/{VIRTIO[0]}"} <= set(held)
    assert run(after, kernels=kernels).changes == ()


def test_where_space_ends_the_default_kernel_is_served_first():
    old_image = f"/boot/initrd.img-{OLD}"
    tree = guest(main(), **modules_of(OLD), **{old_image: main(folder=f"usr/lib/modules/{OLD}")})
    one_segment = len(appended(run(tree))[0].data)
    tight = Memory(tree.content, space=(8 << 20) + one_segment + 512)
    contribution = run(tight, kernels=(kernel(OLD, initrd=old_image), KERNEL))

    assert [proof.weakest for proof in contribution.proofs] == ["missing", "appended"]
    assert "MiB free" in contribution.proofs[0].problem
    assert "kernel-without-virtio" in [warning.code for warning in contribution.warnings]


def test_an_old_kernel_without_virtio_is_a_warning_and_not_a_failure():
    contribution = run(guest(main()), kernels=(KERNEL, kernel("2.6.32")))

    assert [proof.weakest for proof in contribution.proofs] == ["appended", "missing"]
    assert [warning.code for warning in contribution.warnings] == ["kernel-without-virtio"]
    assert capabilities.of(inspection(), contribution.proofs, Firmware.BIOS).block is BlockBus.VIRTIO


# --- no proof -----------------------------------------------------------------------------------------------


def bare(*files: str) -> bytes:
    return cpio.segment([cpio.folder("lib"), *(cpio.file(name, b"") for name in files)])


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (guest(main(), dep=DEP.replace("virtio_blk", "xen_blk")), "it has no virtio_blk"),
        (guest(b"\x02\x21\x4c\x18" + b"\xff" * 100), "lz4"),
        (Memory(guest(main()).content, space=1 << 20), "1 MiB free"),
        (guest(main(udev=False)), "no udev"),
        (guest(bare("init", "lib/ata_piix.ko")), "no udev"),
        (guest(b""), "no udev"),
    ],
    ids=["no such module", "unreadable initramfs", "full /boot", "no loader", "nash", "empty image"],
)
def test_without_proof_the_reason_is_named_and_nothing_is_planned(tree, reason):
    contribution = run(tree)

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == "missing"
    assert reason in contribution.proofs[0].problem


def test_a_guest_without_proof_gets_hardware_that_it_can_drive():
    proofs = run(guest(main(), dep="")).proofs

    assert capabilities.of(inspection(), proofs, Firmware.BIOS).block is BlockBus.SATA


def test_modules_dep_that_names_a_file_which_is_not_there_is_refused():
    tree = guest(main())
    del tree.content[f"{KERNEL.modules}/{VIRTIO[0]}"]

    assert run(tree).proofs[0].weakest == "missing"


# --- unified kernel images, the rescue image, the root's own drivers ---------------------------------------


@pytest.mark.parametrize(
    ("modules", "proven", "problem"),
    [(HELD, "initramfs", ""), ((PVSCSI,), "missing", "part of a unified kernel image")],
    ids=["with VirtIO", "without"],
)
def test_a_unified_kernel_image_is_proven_or_left_alone(modules, proven, problem):
    path = "/boot/efi/EFI/Linux/arch.efi"
    uki = dataclasses.replace(KERNEL, image=path, initrd=None)
    contribution = run(root({path: unified(main(modules=modules))}), kernels=(uki,))

    assert contribution.changes == ()
    assert contribution.proofs[0].weakest == proven
    assert problem in contribution.proofs[0].problem


RESCUE = "/boot/initramfs-0-rescue-0123456789abcdef0123456789abcdef.img"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (main(modules=HELD), None),
        (main(), "it has no virtio_pci, virtio_blk, virtio_net"),
        (b"broken", "cannot be read"),
    ],
    ids=["with VirtIO", "without", "broken"],
)
def test_a_rescue_image_is_looked_into_and_never_changed(image, said):
    tree = guest(main(modules=HELD), **{RESCUE: image})
    contribution = run(tree)

    assert contribution.changes == ()
    assert [warning.code for warning in contribution.warnings] == (["rescue-without-virtio"] if said else [])
    assert said is None or said in contribution.warnings[0].message


def test_an_image_that_cannot_mount_the_root_is_reported():
    """It could not before the move either; but then the move would be blamed."""
    below = FileSystem("/dev/sda1", "crypto_LUKS", 0, 1)
    encrypted = FileSystem("/dev/mapper/vg-root", "xfs", container=below)
    dep = DEP + "kernel/fs/xfs/xfs.ko:\nkernel/drivers/md/dm-crypt.ko:\nkernel/drivers/md/dm-mod.ko:\n"
    tree = guest(main(modules=(*HELD, "kernel/drivers/md/dm-mod.ko")), dep=dep)
    (warning,) = run(tree, root=encrypted).warnings

    assert warning.code == "initramfs-lacks-root-driver"
    assert "the root needs xfs, dm_crypt, which its initramfs lacks" in warning.message


def test_what_the_root_needs_and_the_kernel_has_compiled_in_is_no_concern():
    tree = guest(main(modules=HELD), builtin="kernel/fs/ext4/ext4.ko\n")

    assert DEVICES.filesystems[0].kind == "ext4"
    assert run(tree).warnings == ()


def test_alpines_loader_of_drivers_is_one():
    entries = [cpio.file("sbin/nlplug-findfs", b"\x7fELF"), cpio.file("lib/modules/x", b"")]
    contribution = run(guest(cpio.segment([cpio.folder("lib"), *entries])))

    assert UDEV.name not in [entry.name for entry in entries]
    assert contribution.proofs[0].weakest == "appended"
