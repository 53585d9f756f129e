"""UEFI without NVRAM finds the guest's loader: kept, or made of the guest's own files byte for byte."""

from __future__ import annotations

import pytest

from convert.linux.fallback import keep_a_loader, missing
from convert.loaders.menu import Entry
from tests.convert.memory import Memory, inspection, wishes
from transferd.model import Firmware

EFI = "/boot/efi/EFI"
SHIM, GRUB, MOK, SECOND = b"MZ shim .vendor_cert", b"MZ grub \x00/EFI/debian", b"MZ mm", b"MZ fb"
STUB = b"search.fs_uuid 1 root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
CSV = "shimx64.efi,debian,,This is the boot entry for debian\n".encode("utf-16")
DEBIAN = {
    f"{EFI}/debian/shimx64.efi": SHIM,
    f"{EFI}/debian/grubx64.efi": GRUB,
    f"{EFI}/debian/mmx64.efi": MOK,
    f"{EFI}/debian/fbx64.efi": SECOND,
    f"{EFI}/debian/BOOTX64.CSV": CSV,
    f"{EFI}/debian/grub.cfg": STUB,
}


def run(files: dict[str, bytes], *, space: int = 1 << 30, **facts):
    seen = inspection(**{"firmware": Firmware.EFI, "esp": "/boot/efi", "release": {"ID": "debian"}, **facts})
    tree = Memory(files, space=space)
    contribution = keep_a_loader(tree, seen, wishes())
    after = tree.after(contribution.changes)
    made = {path: data for path, data in after.content.items() if tree.content.get(path) != data}
    return made, [warning.message for warning in contribution.warnings], missing(after, seen)


def test_a_bios_guest_needs_none():
    assert run(DEBIAN, firmware=Firmware.BIOS) == ({}, [], None)


def test_shim_becomes_the_fallback_with_its_grub_and_the_way_to_its_menu():
    made, warnings, lacking = run(DEBIAN)

    assert made == {
        f"{EFI}/BOOT/BOOTX64.EFI": SHIM,
        f"{EFI}/BOOT/grubx64.efi": GRUB,
        f"{EFI}/BOOT/mmx64.efi": MOK,
        f"{EFI}/BOOT/grub.cfg": STUB,
    }
    assert (warnings, lacking) == ([], None)


def test_a_second_run_changes_nothing():
    made, *_ = run(DEBIAN)

    assert run({**DEBIAN, **made}) == ({}, [], None)


def test_a_fallback_that_is_there_is_kept():
    own = {f"{EFI}/BOOT/BOOTX64.EFI": b"MZ my own"}

    assert run({**DEBIAN, **own}) == ({}, [], None)


def test_names_on_fat_have_no_case():
    own = {f"{EFI}/boot/bootx64.efi": b"MZ my own"}

    assert run({**DEBIAN, **own}) == ({}, [], None)


def test_a_shim_with_its_fallback_program_and_a_menu_is_enough():
    files = {**DEBIAN, f"{EFI}/BOOT/BOOTX64.EFI": SHIM, f"{EFI}/BOOT/fbx64.efi": SECOND}

    assert run(files) == ({}, [], None)


@pytest.mark.parametrize("csv", [b"", "gone.efi,debian,,\n".encode("utf-16"), b"\xff\xfe\x00"])
def test_a_fallback_program_without_a_menu_that_leads_on_is_not(csv):
    files = {
        **DEBIAN,
        f"{EFI}/BOOT/BOOTX64.EFI": SHIM,
        f"{EFI}/BOOT/fbx64.efi": SECOND,
        f"{EFI}/debian/BOOTX64.CSV": csv,
    }
    made, _, lacking = run(files)

    assert made[f"{EFI}/BOOT/grubx64.efi"] == GRUB
    assert lacking is None


def test_a_shim_that_could_start_nothing_gets_its_grub():
    made, _, lacking = run({**DEBIAN, f"{EFI}/BOOT/BOOTX64.EFI": SHIM})

    assert f"{EFI}/BOOT/BOOTX64.EFI" not in made
    assert made[f"{EFI}/BOOT/grubx64.efi"] == GRUB
    assert lacking is None


def test_a_whole_menu_on_the_partition_stays_where_updates_find_it():
    files = {
        f"{EFI}/redhat/shimx64.efi": SHIM,
        f"{EFI}/redhat/grubx64.efi": GRUB,
        f"{EFI}/redhat/grub.cfg": b"menuentry a {\n}\nconfigfile x\n",
    }
    made, *_ = run(files, release={"ID": "rhel"})

    assert set(made) == {f"{EFI}/BOOT/BOOTX64.EFI", f"{EFI}/BOOT/grubx64.efi"}


def test_suses_names_are_kept_as_its_shim_wants_them():
    files = {f"{EFI}/sles/shim.efi": SHIM, f"{EFI}/sles/grub.efi": GRUB, f"{EFI}/sles/MokManager.efi": MOK}
    made, *_ = run(files, release={"ID": "sles"})

    assert set(made) == {
        f"{EFI}/BOOT/BOOTX64.EFI",
        f"{EFI}/BOOT/grub.efi",
        f"{EFI}/BOOT/MokManager.efi",
    }


def test_a_grub_without_shim_is_the_fallback_itself():
    made, *_ = run({f"{EFI}/GRUB/grubx64.efi": GRUB}, release={"ID": "arch"})

    assert made == {f"{EFI}/BOOT/BOOTX64.EFI": GRUB}


def test_legacy_grub_finds_its_menu_under_the_new_name():
    files = {f"{EFI}/redhat/grub.efi": GRUB, f"{EFI}/redhat/grub.conf": b"default=0\n"}
    made, *_ = run(files, release={"ID": "rhel"})

    assert made == {f"{EFI}/BOOT/BOOTX64.EFI": GRUB, f"{EFI}/BOOT/BOOTX64.conf": b"default=0\n"}


def test_systemd_boot_needs_nothing_beside_it():
    loader = b"MZ #### LoaderInfo: systemd-boot 252 ####"
    made, *_ = run({f"{EFI}/systemd/systemd-bootx64.efi": loader}, release={"ID": "arch"})

    assert made == {f"{EFI}/BOOT/BOOTX64.EFI": loader}


def test_a_unified_kernel_image_without_a_loader_is_one():
    image = f"{EFI}/Linux/arch-linux.efi"
    entry = Entry(image, "Arch", image, (image,), "", default=True)
    made, *_ = run({image: b"MZ kernel"}, entries=(entry,))

    assert made == {f"{EFI}/BOOT/BOOTX64.EFI": b"MZ kernel"}


def test_of_several_vendors_the_guests_own_counts():
    files = {**DEBIAN, f"{EFI}/ubuntu/shimx64.efi": b"MZ other", f"{EFI}/ubuntu/grubx64.efi": b"MZ other"}
    made, *_ = run(files)

    assert made[f"{EFI}/BOOT/grubx64.efi"] == GRUB


def test_where_the_guests_own_vendor_is_not_clear_nothing_is_guessed():
    files = {**DEBIAN, f"{EFI}/ubuntu/grubx64.efi": b"MZ other"}
    made, (message,), lacking = run(files, release={"ID": "mine"})

    assert made == {}
    assert "debian, ubuntu could all be the guest's" in message
    assert lacking == "there is no EFI/BOOT/BOOTX64.EFI"


def test_other_processors_have_other_names():
    files = {f"{EFI}/debian/shimaa64.efi": SHIM, f"{EFI}/debian/grubaa64.efi": GRUB}
    made, *_ = run(files, arch="aarch64")

    assert set(made) == {f"{EFI}/BOOT/BOOTAA64.EFI", f"{EFI}/BOOT/grubaa64.efi"}


@pytest.mark.parametrize(
    ("files", "facts", "message"),
    [
        ({}, {"esp": None}, "is not mounted by the guest"),
        ({f"{EFI}/debian/readme": b""}, {}, "no loader on its EFI system partition"),
        ({f"{EFI}/debian/shimx64.efi": SHIM}, {}, "no loader beside it"),
        ({f"{EFI}/BOOT/BOOTX64.EFI": SHIM}, {}, "no loader for it to start"),
        (DEBIAN, {"space": 1 << 19}, "0 MiB free and the fallback loader needs 2 MiB"),
    ],
    ids=["no partition", "no loader", "shim alone", "shim alone as the fallback", "full"],
)
def test_where_none_can_be_made_it_is_said(files, facts, message):
    made, (told,), _ = run(files, **facts)

    assert made == {}
    assert message in told
