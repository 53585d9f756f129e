"""The contract of sources and targets, held against every kind of them: one suite, many places."""

import json
import mmap
import random
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests import digest_independent as independent
from tests import dsl
from tests.copying import copied
from tests.places import OLD, PLACES, Place
from transferd.backends import Source
from transferd.backends.file_source import FileSource
from transferd.backends.memory import MemorySource
from transferd.backends.nbd_source import NbdSource
from transferd.errors import TargetError
from transferd.plan import BLOCK
from transferd.units import KiB, MiB

DISKS = [
    ("", 512),
    ("", 7 * 512),
    ("", 64 * KiB + 512),
    ("A0-B", 0),
    ("----", 0),
    ("A0-B--C0-D-", 3 * 512),
    ("-0--------A", 64 * KiB * 3),
    ("ABCDEFGH0", 8191),
]
SLACK = 256 * KiB  # bytes that a file system may take for its own tables


def name_of(disk: tuple[str, int]) -> str:
    return f"{disk[0]}+{disk[1]}"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, disk: tuple[str, int]):
    letters, tail = disk
    with ExitStack() as stack:
        yield PLACES[request.param](tmp_path, len(letters) * MiB + tail, stack)


def bytes_of(disk: tuple[str, int]) -> bytes:
    letters, tail = disk
    return dsl.content(letters) + b"\xee" * tail


@pytest.mark.parametrize("disk", DISKS, ids=name_of)
def test_a_disk_arrives_byte_by_byte_and_nothing_else_is_touched(tmp_path: Path, place: Place, disk):
    content = bytes_of(disk)
    behind = place.content()[len(content) :] if place.path is None else b""
    with (
        FileSource(dsl.write(disk[0], tmp_path / "source", tail=disk[1])) as source,
        place.target() as target,
    ):
        done = copied(source, target)

    assert content == place.content()[: len(content)]
    assert behind == place.content()[len(content) :]
    assert behind == OLD * len(behind)
    assert independent.of_bytes(content) == done.digests.disk()
    assert (done.mismatched, done.stats.sample().verified) == (0, len(content))


@pytest.mark.parametrize("disk", DISKS[3:], ids=name_of)
def test_zeros_take_no_room_where_none_was_reserved_and_keep_it_where_it_was(
    tmp_path: Path, place: Place, disk
):
    with (
        FileSource(dsl.write(disk[0], tmp_path / "source", tail=disk[1])) as source,
        place.target() as target,
    ):
        copied(source, target)
    if place.path is None:
        return
    held = place.path.stat().st_blocks * 512

    if place.sparse:
        assert held <= sum(kind not in "0-" for kind in disk[0]) * MiB + disk[1] + SLACK
    if place.allocated:
        assert held >= len(bytes_of(disk)) // 4096 * 4096


@pytest.mark.parametrize("disk", [DISKS[5]], ids=name_of)
def test_a_copy_that_is_made_twice_writes_nothing_the_second_time(tmp_path: Path, place: Place, disk):
    with FileSource(dsl.write(disk[0], tmp_path / "source", tail=disk[1])) as source:
        with place.target() as target:
            copied(source, target, tmp_path / "journal")
        with place.target() as target:
            again = copied(source, target, tmp_path / "journal")

    assert again.stats.sample().written == 0
    assert bytes_of(disk) == place.content()[: len(bytes_of(disk))]


@pytest.mark.parametrize("disk", [("", 512 * 9), ("0000", 512), ("000000000", 64 * KiB + 1)], ids=name_of)
def test_any_sequence_of_writes_and_zeros_reads_back(place: Place, disk):
    """Ranges begin at the grain at which blocks are cut; they end there or with the disk."""
    size, grain, dice = len(bytes_of(disk)), 64 * KiB, random.Random(17)
    slot = memoryview(mmap.mmap(-1, BLOCK))
    model = bytearray(size)
    with place.target() as target:
        target.zero(0, size)
        for number in range(1, 25):
            start = dice.randrange(0, size, grain)
            length = min(dice.choice([1, 3, 16, 64]) * grain, size - start)
            if dice.random() < 0.4:
                target.zero(start, length)
                model[start : start + length] = bytes(length)
            else:
                slot[:length] = bytes([number]) * length
                target.pwrite(start, slot[:length])
                model[start : start + length] = slot[:length]
        target.sync()
        for start in range(0, size, BLOCK):
            view = slot[: min(BLOCK, size - start)]
            target.reread(start, view)
            assert view == model[start : start + len(view)]
            assert not target.reads_zero(start, len(view)) or not any(view)

    assert model == place.content()[:size]


@pytest.mark.parametrize("disk", [DISKS[5]], ids=name_of)
def test_a_target_knows_itself_again_and_says_so_in_json(place: Place):
    with place.target() as target:
        first = json.dumps(dict(target.identity))
    with place.target() as target:
        assert json.dumps(dict(target.identity)) == first


@pytest.mark.parametrize("disk", [DISKS[5]], ids=name_of)
def test_two_copies_cannot_write_to_one_place(place: Place):
    with place.target() as target:
        if target.name == "memory":
            return
        with pytest.raises(TargetError, match=r"another copy|in use"), place.target():
            pass


# --- sources ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "device", "NBD", "NBD without extents", "memory"])
def source(request: pytest.FixtureRequest, tmp_path: Path):
    """The same disk, from everywhere."""
    path = dsl.write("A0-B--C0-D-", tmp_path / "source", tail=3 * 512)
    with ExitStack() as stack:
        match request.param:
            case "file":
                yield stack.enter_context(FileSource(path))
            case "device":
                device = request.getfixturevalue("loop_device")(path.stat().st_size)
                device.write_bytes(path.read_bytes())
                yield stack.enter_context(FileSource(device))
            case "memory":
                yield MemorySource(path.read_bytes())
            case _:
                filters = ["--filter=noextents"] if "without" in request.param else []
                server = request.getfixturevalue("nbd_server")(*filters, "file", str(path))
                yield stack.enter_context(NbdSource(server.uri, "disk", source_id=None, patience=10))


CONTENT = bytes_of(("A0-B--C0-D-", 3 * 512))


def answers(source: Source, reads: list[tuple[int, int]]) -> list[bytes]:
    """What a session of the source has at these places, all asked at once."""
    views = [memoryview(bytearray(length)) for _, length in reads]
    session = source.session()
    for number, (start, length) in enumerate(reads):
        session.read(start, views[number][:length], number)
    found: dict[int, object] = {}
    for _ in range(600):
        found |= {answer.token: answer.error for answer in session.wait(0.1)}
        if len(found) == len(reads):
            break
    session.close()
    session.close()
    assert {*found.values()} == {None}
    return [bytes(view) for view in views]


def test_a_source_has_the_disks_size_and_bytes(source: Source):
    reads = [(0, 512), (MiB - 3, 7), (3 * MiB, 2 * MiB), (len(CONTENT) - 1, 1), (5 * MiB, 4 * MiB)]

    assert source.size == len(CONTENT)
    assert answers(source, reads) == [CONTENT[start : start + length] for start, length in reads]


def test_a_source_may_be_asked_for_many_things_at_once(source: Source):
    dice = random.Random(3)
    reads = [(start := dice.randrange(len(CONTENT)), min(64 * KiB, len(CONTENT) - start)) for _ in range(64)]

    assert answers(source, reads) == [CONTENT[start : start + length] for start, length in reads]


def test_extents_cover_the_disk_and_what_they_call_zero_is(source: Source):
    extents = source.extents()

    assert extents[0].start == 0
    assert extents[-1].end == source.size
    assert all(before.end == after.start for before, after in pairwise(extents))
    assert not any(any(CONTENT[each.start : each.end]) for each in extents if each.zero)


def test_a_source_says_who_it_is_in_json_and_the_same_each_time(source: Source):
    assert json.dumps(dict(source.identity)) == json.dumps(dict(source.identity))
    assert str(source.size) in json.dumps(dict(source.identity))


def test_every_source_gives_the_same_digest(source: Source, tmp_path: Path):
    with PLACES["new file"](tmp_path, source.size, ExitStack()).target() as target:
        done = copied(source, target, verify="full")

    assert done.digests.disk() == independent.of_bytes(CONTENT)
    assert (tmp_path / "target").read_bytes() == CONTENT
