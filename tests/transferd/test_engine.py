"""The engine between disks in memory that misbehave: what it survives, how it ends, what it never does."""

import random
import threading
import time
from itertools import pairwise

import pytest

from tests import digest_independent as independent
from tests.copying import ALWAYS, copied, noise, on
from tests.torture.seed import TODAY
from transferd import engine, reader
from transferd.backends.memory import LOSE, MemorySource, MemoryTarget
from transferd.errors import (
    IntegrityError,
    Overload,
    RetriesExhausted,
    SourceError,
    TargetError,
    Transient,
)
from transferd.extents import Extent
from transferd.limits import Budget
from transferd.plan import BLOCK
from transferd.units import KiB, MiB

DISK = noise(2) + bytes(BLOCK + 5 * MiB) + noise(3.4, seed=2) + b"\xee" * 512


def refusal() -> SourceError:
    return SourceError("the server answered Input/output error", operation="read")


def lost() -> Transient:
    return Transient("connection lost", operation="read")


# --- a copy without faults -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 511, 512, 513, 64 * KiB + 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("old", [None, b"\xa5"], ids=["fresh", "reused"])
def test_b21_a_disk_of_any_size_arrives(size, old):
    source = MemorySource((DISK * 2)[BLOCK : BLOCK + size])
    target = MemoryTarget(size, content=old and old * size)
    done = copied(source, target)

    assert source.content == target.content
    assert independent.of_bytes(source.content) == done.digests.disk()


@pytest.mark.parametrize("request_size", [4 * KiB, 512 * 9, MiB, 4 * MiB])
def test_reads_have_the_size_that_was_asked_for(request_size):
    lengths = []
    source = MemorySource(DISK, fault=lambda operation: lengths.append(operation.length))
    target = MemoryTarget(len(DISK))
    copied(source, target, request_size=request_size, verify="none")

    assert source.content == target.content
    assert max(lengths) == request_size


@pytest.mark.parametrize("sessions", [1, 3])
def test_every_byte_of_data_is_read_once_whatever_the_number_of_sessions(sessions):
    source = MemorySource(DISK, fault=on("read", ALWAYS, lambda _operation: time.sleep(0.01)))
    target = MemoryTarget(len(DISK))
    source.sessions = sessions
    done = copied(source, target, verify="none", depth=2)

    assert source.content == target.content
    assert source.faults.counts["session"] == sessions
    assert done.stats.sample().read == done.data


def test_what_is_counted_adds_up():
    source, target = MemorySource(DISK), MemoryTarget(len(DISK))
    done = copied(source, target)
    sample = done.stats.sample()

    assert sample.settled == sample.durable == sample.verified == len(DISK)
    assert sample.written + sample.zero == len(DISK)
    assert sample.skipped == sample.zero
    assert (sample.in_flight, sample.retries, sample.healed) == (0, 0, 0)
    assert done.stats.latency("read").count == source.faults.counts["read"]


def test_a_slow_target_makes_the_source_wait_and_not_memory_grow():
    moved = {"read": 0, "write": 0}
    most = 0

    def watch(operation) -> None:
        nonlocal most
        if operation.kind == "write":
            threading.Event().wait(0.01)
        if operation.kind in moved:
            moved[operation.kind] += operation.length
        most = max(most, moved["read"] - moved["write"])

    content = noise(20)
    source, target = MemorySource(content, fault=watch), MemoryTarget(len(content), fault=watch)
    copied(source, target, slots=3, writers=1, verify="none")

    assert target.content == content
    assert most <= 3 * BLOCK


def test_several_disks_share_a_budget_and_give_all_of_it_back():
    budget = Budget(2 * MiB)
    disks = [(MemorySource(noise(3, seed)), MemoryTarget(3 * BLOCK)) for seed in range(3)]
    threads = [threading.Thread(target=copied, args=disk, kwargs={"budget": budget}) for disk in disks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert all(source.content == target.content for source, target in disks)
    assert budget.take(2 * MiB, first=False)


# --- the source misbehaves -------------------------------------------------------------------------------


def test_f01_reads_that_are_refused_now_and_then_are_asked_again():
    dice = random.Random(1)
    source = MemorySource(DISK, fault=on("read", {dice.randrange(40) for _ in range(5)}, refusal()))
    target = MemoryTarget(len(DISK))
    done = copied(source, target)

    assert source.content == target.content
    assert done.stats.sample().retries >= 1


def test_f02_a_read_that_is_always_refused_ends_the_copy_with_its_place(monkeypatch):
    monkeypatch.setattr(reader, "READ_DELAY", 0.01)

    def bad_sector(operation) -> None:
        if operation.kind == "read" and operation.start <= 5 * MiB < operation.start + operation.length:
            raise refusal()

    target = MemoryTarget(len(DISK))
    with pytest.raises(SourceError, match="6 attempts") as raised:
        copied(MemorySource(DISK, fault=bad_sector), target)

    assert raised.value.disk == "memory"
    assert target.content[:BLOCK] == DISK[:BLOCK]


@pytest.mark.parametrize("seed", range(TODAY, TODAY + 5))
def test_f05_a_session_lost_anywhere_costs_what_was_in_flight(seed):
    dice = random.Random(seed)
    source = MemorySource(DISK, fault=on("read", {dice.randrange(30) for _ in range(4)}, lost()))
    target = MemoryTarget(len(DISK))
    budget = Budget(8 * MiB)
    done = copied(source, target, budget=budget)

    assert source.content == target.content
    assert done.stats.sample().reconnects == source.faults.counts["session"] - 1 >= 1
    assert budget.take(8 * MiB, first=False)


def test_a_source_that_stays_away_ends_the_copy():
    source = MemorySource(DISK, fault=on("session", ALWAYS, lost()))
    with pytest.raises(RetriesExhausted, match="attempts"):
        copied(source, MemoryTarget(len(DISK)), patience=0.5)


def test_a_source_that_comes_back_is_used_again():
    source = MemorySource(DISK, fault=on("session", range(2), lost()))
    target = MemoryTarget(len(DISK))
    copied(source, target)

    assert source.content == target.content


@pytest.mark.parametrize("number", [0, 1, 5, 17])
def test_f05_what_a_lost_session_was_reading_is_read_by_the_others(monkeypatch, number):
    monkeypatch.setattr(reader, "SPARE_PATIENCE", 0.3)
    reads = []

    def only_the_first_session_comes_back(operation):
        time.sleep(0.005)
        if threading.current_thread().name != "spare":
            return
        reads.append(operation)
        if len([each for each in reads if each.kind == "read"]) > number:
            raise lost()

    source = MemorySource(DISK * 3, fault=only_the_first_session_comes_back)
    source.sessions = 3
    target = MemoryTarget(len(DISK) * 3)
    done = copied(source, target, depth=2, request_size=64 * KiB)

    assert source.content == target.content
    assert done.stats.sample().in_flight == 0
    assert done.stats.sample().retries > 0


def test_a_read_that_kills_every_session_is_named():
    def killer(operation) -> None:
        if operation.kind == "read" and operation.start == 6 * MiB:
            raise lost()

    with pytest.raises(RetriesExhausted, match="8 times with this read in flight"):
        copied(MemorySource(DISK, fault=killer), MemoryTarget(len(DISK)), depth=1)


def test_f07_an_answer_that_never_comes_is_asked_for_again():
    source = MemorySource(DISK, fault=on("read", {3, 11}, LOSE))
    target = MemoryTarget(len(DISK))
    done = copied(source, target, patience=0.3)

    assert source.content == target.content
    assert done.stats.sample().reconnects >= 1


def test_f07_a_source_that_hangs_three_times_is_given_up():
    source = MemorySource(DISK, fault=on("read", range(5, 1 << 62), LOSE))
    with pytest.raises(SourceError, match=r"no answer within .*3 times") as raised:
        copied(source, MemoryTarget(len(DISK)), patience=0.3)

    assert raised.value.exit_code == 4
    assert source.faults.counts["session"] == 3


def test_f13_a_source_without_memory_for_a_read_is_asked_for_less():
    source = MemorySource(DISK, fault=on("read", {2, 3, 9}, Overload("Failed to allocate 24117272 bytes")))
    target = MemoryTarget(len(DISK))
    done = copied(source, target)
    sample = done.stats.sample()

    assert source.content == target.content
    assert (sample.overloads, sample.reconnects) == (3, 0)


# --- what the source says is not true --------------------------------------------------------------------


def test_f04_data_where_the_extents_call_everything_empty_is_never_a_success():
    source = MemorySource(noise(3), extents=[Extent(0, 3 * BLOCK, zero=True)])
    with pytest.raises(IntegrityError, match="holds data") as raised:
        copied(source, MemoryTarget(3 * BLOCK))

    assert raised.value.exit_code == 6


def test_f04_with_verify_none_nothing_is_audited_and_nothing_is_claimed():
    source = MemorySource(DISK)
    done = copied(source, MemoryTarget(len(DISK)), verify="none")

    assert done.stats.sample().audited == 0
    assert not done.proof.target


def test_a_source_that_changes_while_it_is_copied_is_found_by_a_full_comparison():
    def written(operation) -> None:
        if operation.kind == "read" and operation.number == 20:
            source.content[7] ^= 1

    source = MemorySource(DISK, fault=written)
    with pytest.raises(IntegrityError, match="differ from the copy") as raised:
        copied(source, MemoryTarget(len(DISK)), verify="full")

    assert raised.value.offset == 0


@pytest.mark.parametrize(
    ("verify", "blocks"), [("full", 8), ("sample:1", 1), ("sample:50", 4), ("target", 0)]
)
def test_as_many_blocks_of_the_source_are_read_again_as_were_asked_for(verify, blocks):
    done = copied(MemorySource(noise(8)), MemoryTarget(8 * BLOCK), verify=verify)

    assert done.compared == blocks


# --- the target misbehaves -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 2])
def test_f34_a_lost_write_is_found_and_healed(number):
    source, target = MemorySource(DISK), MemoryTarget(len(DISK), fault=on("write", {number}, LOSE))
    done = copied(source, target)

    assert source.content == target.content
    assert (done.mismatched, done.stats.sample().healed) == (1, 1)
    assert done.warnings


def test_f34_a_zero_that_was_lost_on_a_reused_target_is_found_and_healed():
    source = MemorySource(DISK)
    target = MemoryTarget(len(DISK), content=b"\xa5" * len(DISK), fault=on("zero", {0}, LOSE))
    done = copied(source, target)

    assert source.content == target.content
    assert done.stats.sample().healed >= 1


def test_f34_a_write_that_is_lost_twice_is_exit_6_with_its_place():
    def hole(operation) -> object:
        return LOSE if operation.kind == "write" and operation.start == BLOCK else None

    with pytest.raises(IntegrityError, match="not even when written again") as raised:
        copied(MemorySource(DISK), MemoryTarget(len(DISK), fault=hole))

    assert (raised.value.offset, raised.value.exit_code) == (BLOCK, 6)


def test_f40_a_bit_that_flips_after_it_was_received_is_found():
    """The digest is of the bytes as received: what memory or storage does to them later cannot match it."""

    def flip(operation) -> None:
        if operation.kind == "sync" and operation.number == 0:
            target.content[BLOCK + 99] ^= 4

    target = MemoryTarget(len(DISK), fault=flip)
    source = MemorySource(DISK)
    done = copied(source, target)

    assert source.content == target.content
    assert done.stats.sample().healed == 1


def test_f40_a_bit_that_flips_every_time_is_exit_6():
    def flip(operation) -> None:
        if operation.kind == "sync":
            target.content[BLOCK + 99] ^= 4

    target = MemoryTarget(len(DISK), fault=flip)
    target.content = bytearray(len(DISK))
    with pytest.raises(IntegrityError):
        copied(MemorySource(DISK), target)


def test_what_is_healed_must_be_what_was_received_the_first_time():
    def changed(operation) -> object:
        if operation.kind != "write" or operation.number:
            return None
        source.content[operation.start + 1] ^= 1
        return LOSE

    source = MemorySource(DISK)
    with pytest.raises(IntegrityError, match="other bytes"):
        copied(source, MemoryTarget(len(DISK), fault=changed))


@pytest.mark.parametrize("kind", ["write", "zero", "sync", "reread"])
def test_an_error_of_the_target_ends_the_copy(kind):
    failing = on(kind, {0}, TargetError("No space left on device", operation=kind, offset=0))
    target = MemoryTarget(len(DISK), content=b"\xa5" * len(DISK), fault=failing)
    with pytest.raises(TargetError, match="No space left"):
        copied(MemorySource(DISK), target)


def test_a_target_that_hangs_ends_the_copy(monkeypatch):
    monkeypatch.setattr(engine, "WIND_DOWN", 0.5)
    released = threading.Event()
    target = MemoryTarget(len(DISK), fault=on("write", ALWAYS, lambda _operation: released.wait(30) and None))
    with pytest.raises(TargetError, match="nothing moved"):
        copied(MemorySource(DISK), target, patience=0.5)
    released.set()


# --- everything at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(TODAY, TODAY + 8))
def test_a_copy_through_any_mixture_of_passing_faults_is_exact(seed):
    dice = random.Random(seed)
    data = [noise(dice.uniform(0.01, 1.5), seed + number) for number in range(4)]
    content = b"".join(part + bytes(dice.randrange(6 * MiB)) for part in data)[
        : dice.choice([-1, -512, None])
    ]
    source = MemorySource(content, fault=passing(dice, ("read", 0.02, refusal()), ("read", 0.01, lost()),
                                                 ("read", 0.005, LOSE)))  # fmt: skip
    old = dice.choice([None, b"\xa5" * len(content)])
    target = MemoryTarget(len(content), content=old, fault=on("write", {dice.randrange(4)}, LOSE))
    source.sessions = dice.choice([1, 2, 4])
    done = copied(
        source,
        target,
        verify=dice.choice(["target", "full", "sample:10"]),
        patience=0.3,
        slots=dice.choice([2, 5, 12]),
        writers=dice.choice([1, 3]),
        depth=dice.choice([None, 1, 5]),
        request_size=dice.choice([64 * KiB, MiB, 4 * MiB]),
        commit_bytes=dice.choice([4 * MiB, 128 * MiB]),
    )

    assert content == target.content
    assert independent.of_bytes(content) == done.digests.disk()


def passing(dice: random.Random, *faults):
    """Each fault happens to its share of the operations, at most three times in all."""
    left = dict.fromkeys(range(len(faults)), 3)

    def fault(operation) -> object:
        for number, (kind, share, answer) in enumerate(faults):
            if operation.kind == kind and left[number] and dice.random() < share:
                left[number] -= 1
                if isinstance(answer, Exception):
                    raise answer
                return answer
        return None

    return fault


def test_the_timeline_only_ever_goes_forward():
    done = copied(MemorySource(noise(8)), MemoryTarget(8 * BLOCK))

    for before, after in pairwise(done.timeline.samples):
        assert before.at < after.at
        assert before.settled <= after.settled
        assert before.verified <= after.verified
