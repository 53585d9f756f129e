import random
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferd.stats import FINENESS, SMALLEST, Histogram, Sample, Stats
from transferd.timeline import MOST, Timeline

COARSE = 2 ** (1 / FINENESS)  # the width of a bucket


@given(
    st.lists(st.floats(SMALLEST, 60_000), min_size=1, max_size=300),
    st.sampled_from([0.01, 0.5, 0.95, 0.99, 1]),
)
def test_a_quantile_is_the_truth_rounded_up_by_a_bucket_at_most(durations, share):
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    rank = next(place for place in range(1, len(durations) + 1) if place >= share * len(durations))
    truth = sorted(durations)[rank - 1]

    assert truth * 0.999 <= histogram.quantile(share) <= truth * COARSE * 1.001


@pytest.mark.parametrize("duration", [0.0, -1.0, 1e-9, 1e9])
def test_durations_beyond_the_scale_are_counted_at_its_ends(duration):
    histogram = Histogram()
    histogram.add(duration)

    assert histogram.count == 1
    assert histogram.quantile(0.5) > 0


def test_without_operations_there_is_no_latency():
    latency = Stats().latency("read")

    assert (latency.count, latency.p50, latency.p99) == (0, 0.0, 0.0)


def test_counters_from_many_threads_add_up():
    stats = Stats()

    def work() -> None:
        for _ in range(1000):
            stats.add(read=3, in_flight=1)
            stats.took("read", 0.001)
            stats.add(in_flight=-1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    sample = stats.sample()

    assert (sample.read, sample.in_flight) == (24_000, 0)
    assert stats.latency("read").count == 8000
    assert stats.histogram("read").count == 8000


def test_a_histogram_that_was_taken_does_not_change():
    stats = Stats()
    stats.took("sync", 1.0)
    taken = stats.histogram("sync")
    stats.took("sync", 1.0)

    assert (taken.count, sum(taken.counts), taken.total) == (1, 1, 1.0)


@given(st.integers(1, 20 * MOST), st.integers())
def test_a_timeline_stays_short_and_keeps_its_order_and_its_beginning(count, seed):
    timeline, dice = Timeline(), random.Random(seed)
    sample = Sample()
    for number in range(count):
        sample = replace(sample, at=sample.at + dice.choice([0.05, 1.0]), settled=number)
        timeline.add(sample)
        if number > 3 * MOST:
            break
    times = [each.at for each in timeline.samples]

    assert 1 <= len(times) <= MOST
    assert times == sorted(times)
    assert timeline.samples[0].settled == 0
