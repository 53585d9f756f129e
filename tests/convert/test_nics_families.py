"""Each family of distributions, by the files that it names its NICs in."""

from __future__ import annotations

import pytest

from convert.folder import Folder
from convert.linux.network import keep_names
from convert.linux.resolver import resolve
from convert.linux.stacks import clues
from convert.linux.stacks.reading import Reader
from tests.convert.memory import Memory, inspection, nic, wishes
from tests.convert.trees import FAMILIES, resolved, written


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_nic_has_the_name_that_it_had(family):
    assert resolved(family.files, *family.nics) == family.names


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_folder_of_files_says_what_the_guest_says(family, tmp_path):
    found = resolve(family.nics, clues(Reader(Folder(written(tmp_path, family.files)))))

    assert {answer.mac: answer.name for answer in found} == family.names


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_naming_files_are_planned_once(family):
    vm = wishes(*(nic(each.mac, slot=each.slot, ips=each.ips) for each in family.nics))
    tree = Memory(family.files)
    plan = keep_names(tree, inspection(), vm)

    assert len(plan.changes) == len(family.nics) + 1
    assert keep_names(tree.after(plan.changes), inspection(), vm).changes == ()
