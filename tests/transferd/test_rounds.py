"""Changed-block rounds onto a copy, between disks in memory: the last moment's content arrives.

The world is a list of contents, one for each point in time, and what changed from one to the next; a source
gives one of them. Changed-block tracking may say too much, never too little.
"""

import random
from pathlib import Path

import pytest

from tests import digest_independent as independent
from tests.copying import copied, noise, on
from tests.torture.seed import TODAY
from transferd.backends.memory import LOSE, MemorySource, MemoryTarget
from transferd.errors import Error, IntegrityError, TargetError, UsageError
from transferd.extents import Extent, Range, joined
from transferd.plan import BLOCK
from transferd.units import KiB

GRAIN = 64 * KiB
SIZE = 9 * BLOCK + 5 * GRAIN + 512
GROUP = 8 * BLOCK


class World:
    """A disk's life. `write` happens at a moment; `now` is a source of what the disk holds at this moment."""

    def __init__(self, seed: int, size: int = SIZE) -> None:
        self.dice = random.Random(seed)
        self.contents = [noise(size / BLOCK, seed=seed % 1000)[:size]]
        self.areas: list[list[Range]] = []  # what changed between a moment and the next
        self.over_report = 0

    def write(self, count: int, *, zeros: float = 0.2) -> None:
        content = bytearray(self.contents[-1])
        grains = set()
        for _ in range(count):
            length = self.dice.choice([512, 4 * KiB, GRAIN, 3 * GRAIN, BLOCK])
            start = self.dice.randrange(len(content))
            end = min(start + length, len(content))
            zero = self.dice.random() < zeros
            content[start:end] = bytes(end - start) if zero else self.dice.randbytes(end - start)
            grains |= {*range(start // GRAIN, (end - 1) // GRAIN + 1)}
        grains |= {self.dice.randrange(-(-len(content) // GRAIN)) for _ in range(self.over_report)}
        self.areas.append([self._grain(number, len(content)) for number in sorted(grains)])
        self.contents.append(bytes(content))

    def change(self, at: int) -> None:
        """Flip one bit."""
        content = bytearray(self.contents[-1])
        content[at] ^= 1
        self.contents.append(bytes(content))
        self.areas.append([self._grain(at // GRAIN, len(content))])

    @staticmethod
    def _grain(number: int, size: int) -> Range:
        return Range(number * GRAIN, min(GRAIN, size - number * GRAIN))

    def now(self, **more) -> MemorySource:
        return self.at(len(self.contents) - 1, **more)

    def at(self, moment: int, **more) -> MemorySource:
        source = MemorySource(self.contents[moment], **more)
        source.identity = {"kind": "memory", "id": "world"}
        source.point = {"moment": moment}

        def changed(since):
            between = [area for areas in self.areas[since["moment"] : moment] for area in areas]
            return joined(sorted(between, key=lambda area: area.start))

        source.changed = changed
        return source


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def target() -> MemoryTarget:
    return MemoryTarget(SIZE)


def judge(world: World, target: MemoryTarget, done) -> None:
    assert target.content == world.contents[-1]
    assert independent.of_bytes(world.contents[-1]) == done.digests.disk()


def test_a_round_reads_what_changed_and_no_more(target, path):
    world = World(1)
    copied(world.now(), target, path)
    world.write(5)
    source = world.now()
    done = copied(source, target, path)

    judge(world, target, done)
    assert done.stats.sample().read == sum(area.length for area in world.areas[0])


def test_a_round_in_which_nothing_changed_reads_nothing(target, path):
    world = World(2)
    copied(world.now(), target, path)
    world.write(0)
    done = copied(world.now(), target, path)

    judge(world, target, done)
    assert done.stats.sample().read == 0
    assert done.stats.sample().written == 0


def test_what_changed_block_tracking_says_too_much_is_not_written(target, path):
    world = World(3)
    copied(world.now(), target, path)
    world.over_report = 40
    world.write(0)
    done = copied(world.now(), target, path)

    judge(world, target, done)
    assert done.stats.sample().read > 0
    assert done.stats.sample().written == 0


def test_zeros_of_a_round_are_written_although_the_target_was_new(target, path):
    world = World(4)
    copied(world.now(), target, path)
    world.write(6, zeros=1.0)
    judge(world, target, copied(world.now(), target, path))


@pytest.mark.parametrize("seed", range(TODAY, TODAY + 12))
def test_many_rounds_give_the_last_content(path, seed):
    world, target = World(seed), MemoryTarget(SIZE)
    copied(world.now(), target, path)
    for _ in range(5):
        world.over_report = world.dice.randrange(10)
        world.write(world.dice.randrange(12))
        done = copied(world.now(), target, path, request_size=world.dice.choice([GRAIN, 4 * BLOCK // 16]))
    judge(world, target, done)


def interrupted(
    source: MemorySource, target: MemoryTarget, path: Path, reads: int, kind: str = "read"
) -> bool:
    """False if it was finished before `reads` operations of this kind."""
    ends = source if kind == "read" else target
    error = UsageError("stop") if kind == "read" else TargetError("stop")
    ends.faults.fault = on(kind, range(reads, 1 << 62), error)
    ends.faults.counts.clear()
    try:
        copied(source, target, path, commit_bytes=BLOCK, writers=1, depth=1, request_size=GRAIN)
    except Error:
        return True
    finally:
        ends.faults.fault = lambda _operation: None
    return False


@pytest.mark.parametrize("seed", range(TODAY, TODAY + 20))
def test_rounds_that_are_interrupted_anywhere_and_meet_a_later_moment_give_the_last_content(path, seed):
    """A copy or round stops anywhere; the next goes on at the same moment, or at a later one."""
    world, target = World(seed), MemoryTarget(SIZE)
    source = world.now()
    for _ in range(8):
        interrupted(
            source, target, path, world.dice.randrange(1, 150), world.dice.choice(["read", "write", "sync"])
        )
        if world.dice.random() < 0.6:
            world.write(world.dice.randrange(6))
            source = world.now()
    judge(world, target, copied(world.now(), target, path))


def test_a_finished_round_that_is_asked_for_again_is_looked_at_and_not_copied(target, path):
    world = World(6)
    copied(world.now(), target, path)
    world.write(5)
    copied(world.now(), target, path)
    done = copied(world.now(), target, path)

    judge(world, target, done)
    assert done.stats.sample().written == 0
    assert done.stats.sample().verified == SIZE


@pytest.mark.parametrize(
    ("changed", "damaged"),
    [(0, 200 * KiB), (3 * BLOCK + 7, 4 * BLOCK - 1), (SIZE - 1, SIZE - 200 * KiB)],
    ids=["first", "middle", "tail"],
)
def test_a_block_that_was_damaged_between_two_rounds_is_read_whole(target, path, changed, damaged):
    """If a round touches it; other blocks were proven when they were copied."""
    world = World(7)
    copied(world.now(), target, path)
    world.change(changed)
    target.content[damaged] ^= 1
    done = copied(world.now(), target, path)

    judge(world, target, done)
    assert done.stats.sample().healed == 1


def test_a_write_of_a_round_that_is_lost_is_found_and_healed(target, path):
    world = World(8)
    copied(world.now(), target, path)
    world.write(4, zeros=0)
    target.faults.counts.clear()
    target.faults.fault = on("write", [0], LOSE)
    done = copied(world.now(), target, path)

    judge(world, target, done)
    assert done.stats.sample().healed == 1


def test_f20_a_disk_that_has_grown_is_compared_whole(path):
    world, target = World(9), MemoryTarget(SIZE)
    copied(world.now(), target, path)
    grown = SIZE + 3 * BLOCK + 512
    world.contents.append(world.contents[-1] + noise(4, seed=4)[: grown - SIZE])
    world.areas.append([])
    larger = MemoryTarget(grown, content=bytes(target.content) + bytes(grown - SIZE))
    larger.identity = target.identity
    done = copied(world.now(), larger, path)

    judge(world, larger, done)
    world.write(3)
    judge(world, larger, copied(world.now(), larger, path))


def test_f22_when_nobody_knows_what_changed_everything_is_compared_and_only_differences_are_written(
    target, path
):
    world = World(10)
    copied(world.now(), target, path)
    world.write(3, zeros=0)
    source = world.now()
    source.changed = lambda _since: None
    done = copied(source, target, path)

    judge(world, target, done)
    assert done.stats.sample().read == SIZE
    assert 0 < done.stats.sample().written < SIZE


def test_f23_an_area_that_is_left_out_is_found_by_a_full_comparison_alone(target, path):
    world = World(11)
    copied(world.now(), target, path)
    world.write(3, zeros=0)
    world.areas[-1] = world.areas[-1][1:]
    blind = MemoryTarget(SIZE, content=bytes(target.content))
    blind.identity = target.identity
    kept = path.read_bytes()
    copied(world.now(), blind, path)
    assert blind.content != world.contents[-1]

    path.write_bytes(kept)
    with pytest.raises(IntegrityError) as raised:
        copied(world.now(), target, path, verify="full")
    assert raised.value.offset is not None


def test_an_interrupted_first_copy_reads_by_the_extents_what_was_never_recorded(path):
    world, target = World(12), MemoryTarget(SIZE)
    source = world.now()
    assert interrupted(source, target, path, 64 * 4)
    world.write(2)
    extents = [Extent(0, SIZE, zero=False)]
    done = copied(world.now(extents=extents), target, path)

    judge(world, target, done)
    assert done.stats.sample().read < SIZE


def test_a_round_asks_for_room_for_what_changed_and_not_for_the_whole_disk(target, path):
    asked = []
    target.require_space = asked.append
    world = World(13)
    copied(world.now(), target, path)
    world.write(3)
    done = copied(world.now(), target, path)

    assert asked == [SIZE, sum(area.length for area in world.areas[0])]
    assert done.data == asked[1]
