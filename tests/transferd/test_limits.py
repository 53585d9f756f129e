import os
import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferd import limits
from transferd.errors import UsageError
from transferd.limits import Budget, Limits, Pace, rate_of
from transferd.units import KiB, MiB


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


def moved(pace: Pace, clock: Clock, seconds: float, length: int) -> int:
    """Bytes that a reader of reads of `length` gets in so many seconds, waiting as it is told."""
    until, total = clock.now + seconds, 0
    while clock.now < until:
        wait = pace.take(length)
        if wait == 0:
            total += length
        clock.now += wait
    return total


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.integers(64 * KiB, 1024 * MiB),
    reads=st.integers(1, 400),
    seconds=st.integers(5, 20),
)
def test_over_time_the_rate_is_kept_but_for_one_burst_and_one_read(clock, rate, reads, seconds):
    length = rate * seconds // reads
    total = moved(Pace(str(rate)), clock, seconds, length)

    assert rate * seconds * 0.9 - 2 * length <= total <= rate * (seconds + Pace.BURST) + length


def test_a_pause_earns_no_more_than_a_burst(clock):
    pace = Pace("10MiB/s")
    clock.now += 3600
    at_once = 0
    while pace.take(64 * KiB) == 0:
        at_once += 64 * KiB

    assert at_once <= 10 * MiB * Pace.BURST + 64 * KiB


def test_readers_that_share_a_pace_share_its_rate(clock):
    pace, dice = Pace("100MiB/s"), random.Random(7)
    began, due, total = clock.now, [clock.now] * 8, 0
    while min(due) < began + 10:
        number = due.index(min(due))
        clock.now = max(clock.now, due[number])
        length = dice.choice([64 * KiB, MiB])
        wait = pace.take(length)
        total += 0 if wait else length
        due[number] = clock.now + (wait or 0.0001)

    assert total == pytest.approx(1000 * MiB, rel=0.05)


def test_without_a_limit_nobody_waits():
    assert Pace().take(1 << 40) == 0


def test_the_limit_in_a_file_is_read_again_every_second(clock, tmp_path):
    file = tmp_path / "rate"
    file.write_text("1MiB\n")
    pace = Pace(f"@{file}")
    slow = moved(pace, clock, 10, 64 * KiB)
    file.write_text("100MiB/s")
    clock.now += Pace.REREAD
    assert pace.refresh() is None
    fast = moved(pace, clock, 10, 64 * KiB)

    assert slow == pytest.approx(10 * MiB, rel=0.1)
    assert fast == pytest.approx(1000 * MiB, rel=0.1)


def test_an_empty_file_lifts_the_limit(clock, tmp_path):
    file = tmp_path / "rate"
    file.write_text("1MiB")
    pace = Pace(f"@{file}")
    file.write_text("")
    clock.now += Pace.REREAD
    pace.refresh()

    assert pace.take(1 << 40) == 0
    assert pace.take(1 << 40) == 0


@pytest.mark.parametrize("content", [b"quick", b"-1", b"1B", b"\xff\xfe", b"1MiB\n2MiB", None], ids=repr)
def test_a_file_that_makes_no_sense_keeps_the_old_rate_and_says_so(clock, tmp_path, content):
    file = tmp_path / "rate"
    file.write_text("10MiB")
    pace = Pace(f"@{file}")
    file.write_bytes(content) if content is not None else file.unlink()
    clock.now += Pace.REREAD

    assert pace.refresh()
    assert moved(pace, clock, 10, 64 * KiB) == pytest.approx(100 * MiB, rel=0.1)


def test_a_file_is_not_looked_at_more_often_than_every_second(clock, tmp_path):
    file = tmp_path / "rate"
    file.write_text("10MiB")
    pace = Pace(f"@{file}")
    file.write_text("nonsense")
    clock.now += Pace.REREAD / 2

    assert pace.refresh() is None


@pytest.mark.parametrize("spec", ["@/no/such/file", "fast", "0", "-1MiB", "63KiB", "10MiB/min", "1e9", "@"])
def test_a_rate_that_makes_no_sense_at_the_start_is_refused(spec):
    with pytest.raises(UsageError):
        Pace(spec)


def test_a_file_that_never_ends_a_read_is_refused_at_once(tmp_path):
    """A FIFO that nobody writes would keep its reader for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ended = threading.Event()

    def made() -> None:
        with pytest.raises(UsageError):
            Pace(f"@{fifo}")
        ended.set()

    threading.Thread(target=made, daemon=True).start()

    assert ended.wait(5)


@pytest.mark.parametrize(("text", "rate"), [("64KiB", 65536), ("200MiB/s", 200 << 20), ("1MB/s", 1_000_000)])
def test_a_rate_is_a_size_with_or_without_per_second(text, rate):
    assert rate_of(text) == rate


def test_a_budget_is_shared_and_given_back():
    budget = Budget(3 * MiB)

    assert budget.take(2 * MiB, first=False)
    assert not budget.take(2 * MiB, first=False)
    budget.give(2 * MiB)
    assert budget.take(3 * MiB, first=False)


def test_whoever_has_nothing_in_flight_gets_one_read():
    budget = Budget(MiB)
    budget.take(MiB, first=False)

    assert budget.take(4 * MiB, first=True)
    assert not budget.take(1, first=False)


def test_a_host_has_so_many_sessions_and_every_disk_its_first():
    budget = Budget(sessions=2)

    assert [budget.enter(first=False) for _ in range(3)] == [True, True, False]
    assert budget.enter(first=True)
    budget.leave()
    budget.leave()
    assert budget.enter(first=False)


def test_many_threads_never_hold_more_than_the_budget():
    budget, held, most, lock = Budget(10 * MiB), 0, 0, threading.Lock()

    def disk() -> None:
        nonlocal held, most
        for _ in range(500):
            if not budget.take(MiB, first=False):
                continue
            with lock:
                held += MiB
                most = max(most, held)
            with lock:
                held -= MiB
            budget.give(MiB)

    threads = [threading.Thread(target=disk) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert 0 < most <= 10 * MiB
    assert budget.take(10 * MiB, first=False)


def test_the_defaults_fit_into_the_memory_that_is_promised():
    """150 MiB for one disk, of which the interpreter and its libraries take about 50."""
    defaults = Limits()

    assert defaults.slots * 4 * MiB + defaults.verifiers * 4 * MiB + 50 * MiB <= 150 * MiB
