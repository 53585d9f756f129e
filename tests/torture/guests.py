"""Every guest of the covering set: at home on VMware, lost on VirtIO as it is, itself when converted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.guests import linux, proof
from tests.guests.recipes import RECIPES

FULL = len(RECIPES)


def repeat(seed: int) -> None:
    guest = linux.build(RECIPES[seed % FULL])
    proof.is_at_home_on_vmware(guest)
    proof.is_lost_without_conversion(guest)
    with tempfile.TemporaryDirectory() as folder:
        proof.is_planned_the_same_way_twice(guest, Path(folder))
        proof.is_itself_after_conversion(guest, Path(folder))
        proof.has_nothing_left_to_convert(guest, Path(folder))
