"""One look around a guest asks for each folder once, and never for what a listing tells is not there."""

from __future__ import annotations

import pytest

from convert.bootloader import survey
from convert.installed import kernels
from convert.listed import Listed
from convert.release import packages, release
from convert.traits import traits
from tests.convert.families import FAMILIES
from tests.convert.memory import Memory


class Counted(Memory):
    """A tree that counts the questions that an appliance would be asked."""

    questions = 0

    def names(self, folder):
        self.questions += 1
        return super().names(folder)

    def read(self, path, limit=1 << 20):
        self.questions += 1
        return super().read(path, limit)

    def link(self, path):
        self.questions += 1
        return super().link(path)

    def exists(self, path):
        self.questions += 1
        return super().exists(path)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_it_sees_what_the_guest_has_with_few_questions(family):
    plain, counted = family.tree(), Counted(dict(family.files), dict(family.links))
    listed = Listed(counted)
    boot = survey(plain, family.firmware, family.esp)

    assert survey(listed, family.firmware, family.esp) == boot
    assert kernels(listed, boot.entries) == kernels(plain, boot.entries)
    assert traits(listed) == traits(plain)
    assert (release(listed), packages(listed)) == (release(plain), packages(plain))
    assert counted.questions < 80


def test_names_on_fat_are_found_in_any_case():
    tree = Listed(Memory({"/boot/efi/efi/boot/bootx64.efi": "x", "/boot/efi/EFI/BOOT/BOOTX64.EFI": "x"}))

    assert tree.exists("/boot/efi/EFI/BOOT/BOOTX64.EFI")


def test_a_path_of_ten_thousand_folders_costs_one_question():
    counted = Counted({"/etc/fstab": ""})

    assert not Listed(counted).exists("/a" * 10_000)
    assert counted.questions == 1
