"""Changed areas of a disk: pages in a row, and what the vCenter double says of a guest's writes."""

import time
from array import array
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import require
from tests.doubles.vsphere import VM, Disk, VSphere
from transferd import config
from transferd.areas import Areas, ChangesUnknown
from transferd.errors import SourceError
from transferd.extents import Range
from transferd.model import SourceVM, VMRef
from transferd.units import KiB, MiB
from transferd.vsphere import snapshots
from transferd.vsphere.changes import changed_areas, in_a_row
from transferd.vsphere.pages import Page
from transferd.vsphere.session import Session, connect
from transferd.vsphere.snapshots import Checkpoint, Machine

SINCE = "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81"


def stretch(start: int, end: int) -> Page:
    return Page(start, end, array("q"), array("q"))


def test_pages_are_asked_for_from_the_first_byte_to_the_last_and_never_at_the_end():
    asked = []

    def ask(start: int) -> Page:
        asked.append(start)
        return stretch(start, min(start + 3 * MiB, 8 * MiB))

    assert [page.end for page in in_a_row(ask, 8 * MiB)] == [3 * MiB, 6 * MiB, 8 * MiB]
    assert asked == [0, 3 * MiB, 6 * MiB]


def test_a_page_may_begin_before_what_was_asked_for():
    found = [*in_a_row(lambda start: stretch(max(0, start - 512), start + MiB), 2 * MiB)]

    assert [page.end for page in found] == [MiB, 2 * MiB]


@pytest.mark.parametrize(
    "page",
    [
        stretch(MiB, MiB),
        stretch(0, MiB),
        stretch(MiB, 0),
        stretch(MiB + 1, 2 * MiB),
        stretch(1 << 62, 1 << 63),
    ],
    ids=["no length", "the one before", "backwards", "bytes left out", "far away"],
)
def test_a_page_that_leaves_bytes_out_or_does_not_get_on_is_an_error(page):
    answers = iter([stretch(0, MiB), page])

    with pytest.raises(SourceError, match="asked about byte 1048576") as raised:
        [*in_a_row(lambda _: next(answers), 4 * MiB)]
    assert not isinstance(raised.value, ChangesUnknown)


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory) -> Iterator[VSphere]:
    require("go", "gcc", "make", "nbdkit")
    folder = tmp_path_factory.mktemp("vsphere")
    with (folder / "disk.img").open("wb") as disk:
        disk.truncate(8 * MiB + 4096)
        disk.seek(MiB)
        disk.write(b"data" * 1024)
    with VSphere(
        folder, [VM("web", [Disk(folder / "disk.img")], powered_on=True, change_tracking=True)]
    ) as it:
        yield it


@dataclass
class Web:
    """The VM of this name, reached as transferd reaches it."""

    vsphere: VSphere
    session: Session
    vm: SourceVM

    def moment(self) -> Checkpoint:
        """Now, as a snapshot that stays."""
        machine = Machine(self.vm.moref, self.vm.name)
        return snapshots.take(self.session, machine, f"moment-{time.monotonic_ns()}")

    def changes(self, at: Checkpoint, since: str) -> Areas:
        (disk,) = at.disks.values()
        return changed_areas(self.session, self.vm, at.moref, disk.key, disk.capacity, since)


@pytest.fixture
async def web(vsphere, tmp_path) -> AsyncIterator[Web]:
    chosen = config.vcenter(vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml"))
    async with connect(chosen, lambda: config.password(chosen)) as session:
        yield Web(vsphere, session, session.read_vm(VMRef(name="web")))
    vsphere.snapshot_removed_by_admin("web")


def change_of(at: Checkpoint) -> str:
    (disk,) = at.disks.values()
    assert disk.change is not None
    return disk.change


async def test_what_a_guest_wrote_between_two_snapshots_is_what_changed(web):
    before = web.moment()
    for offset in (0, 3 * MiB + 100, 8 * MiB):
        web.vsphere.write("web", 0, offset, b"x" * 512)
    after = web.moment()
    web.vsphere.write("web", 0, 5 * MiB, b"too late")

    assert [*web.changes(after, change_of(before))] == [
        Range(0, 64 * KiB), Range(3 * MiB, 64 * KiB), Range(8 * MiB, 4096),
    ]  # fmt: skip
    assert not web.changes(after, change_of(after))


async def test_a_star_asks_for_what_was_ever_written(web):
    found = [*web.changes(web.moment(), "*")]

    assert any(each.start <= MiB and each.end >= MiB + 4096 for each in found)
    assert sum(each.length for each in found) < 8 * MiB


async def test_f22_after_a_reset_the_changes_are_unknown(web):
    before = web.moment()
    web.vsphere.reset_cbt("web", 0)

    with pytest.raises(ChangesUnknown, match="VM web: changed areas: vSphere cannot tell") as raised:
        web.changes(web.moment(), change_of(before))
    assert raised.value.vm == "web"


@pytest.mark.parametrize("since", ["", "*/1", "52/81", "A" * 10_240], ids=lambda text: repr(text[:10]))
async def test_b20_what_is_no_change_id_is_not_sent(web, since):
    at = web.moment()
    web.vsphere.reset_calls()

    with pytest.raises(SourceError, match="is not a changeId") as raised:
        web.changes(at, since)
    assert str(raised.value).startswith("VM web: changed areas: ")
    assert "QueryChangedDiskAreas" not in web.vsphere.calls()


@pytest.mark.parametrize(
    "moref", ["", "snapshot-1 ", "snapshot-1\n", "../vm-1", "snapshot-1</_this>", "s" * 81]
)
async def test_b19_what_is_no_moref_is_not_sent(web, moref):
    web.vsphere.reset_calls()

    with pytest.raises(SourceError, match="is not the moref of a snapshot"):
        changed_areas(web.session, web.vm, moref, 2000, MiB, SINCE)
    assert "QueryChangedDiskAreas" not in web.vsphere.calls()


async def test_a_snapshot_that_is_gone_is_an_error_and_not_an_answer(web):
    with pytest.raises(SourceError, match="VM web: changed areas: is gone") as raised:
        changed_areas(web.session, web.vm, "snapshot-99999", 2000, MiB, "*")
    assert not isinstance(raised.value, ChangesUnknown)


@pytest.mark.parametrize("kind", ["NotAuthenticated", "drop", "refuse"])
async def test_all_pages_are_read_although_the_session_expires_or_one_is_lost(web, kind):
    before, after = web.moment(), web.moment()
    web.vsphere.many_areas("web", 0, 7000)
    web.vsphere.reset_calls()
    web.vsphere.fault("QueryChangedDiskAreas", kind)
    try:
        areas = web.changes(after, change_of(before))
    finally:
        web.vsphere.many_areas("web", 0, 0)

    assert len(areas) == 7000
    assert web.vsphere.calls()["QueryChangedDiskAreas"] == 4 + 1
