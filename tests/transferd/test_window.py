"""The window against modelled sources, in virtual time: a link of some bandwidth behind some latency."""

import heapq
from dataclasses import dataclass, field
from itertools import count

import pytest

from transferd.units import GiB, KiB, MiB
from transferd.window import CAUTION, DEEPEST, SHALLOWEST, START, STEP, Window

REQUEST = MiB


@dataclass
class Link:
    """Answers each read after `latency`, one after the other at `bandwidth` where reads queue."""

    latency: float  # s
    bandwidth: float  # bytes/s
    now: float = 0.0
    _free: float = 0.0
    _flight: list[tuple[float, int, float]] = field(default_factory=list)
    _number: count = field(default_factory=count)

    def serve(self, window: Window, seconds: float) -> tuple[list[int], float]:
        """Keep the window filled for so long: every depth it had, and the goodput it got."""
        depths, began, moved = [], self.now, 0
        while self.now < began + seconds:
            while len(self._flight) < window.depth:
                self._free = max(self.now, self._free) + REQUEST / self.bandwidth
                heapq.heappush(self._flight, (self._free + self.latency, next(self._number), self.now))
            self.now, _, asked = heapq.heappop(self._flight)
            window.answered(self.now - asked, REQUEST, self.now)
            depths.append(window.depth)
            moved += REQUEST
        return depths, moved / seconds


@pytest.mark.parametrize(
    ("latency", "bandwidth"),
    [(0.005, GiB), (0.04, GiB), (0.1, GiB), (0.005, 4 * GiB), (0.001, 200 * MiB), (0.01, 100 * GiB)],
)
def test_the_depth_settles_where_more_of_it_no_longer_pays(latency, bandwidth):
    window, link = Window(), Link(latency, bandwidth)
    knee = latency * bandwidth / REQUEST
    link.serve(window, 30)
    depths, goodput = link.serve(window, 30)

    assert goodput >= 0.85 * min(bandwidth, DEEPEST * REQUEST / latency)
    assert min(depths) >= min(0.85 * knee, START)
    assert max(depths) <= min(max(2 * knee, START) + 2 * STEP, DEEPEST)


def test_an_idle_source_is_filled_within_a_second():
    window, link = Window(), Link(0.005, 100 * GiB)
    link.serve(window, 1)

    assert window.depth == DEEPEST


def test_somebody_else_on_the_link_makes_room_for_them():
    window, link = Window(), Link(0.04, GiB)
    link.serve(window, 30)
    before = window.depth
    link.bandwidth = GiB / 8
    depths, _ = link.serve(window, 10)

    assert min(depths) <= before // 2


def test_a_source_without_memory_gets_half_at_once_and_no_more_than_that_for_a_while():
    window, link = Window(), Link(0.005, 100 * GiB)
    link.serve(window, 5)
    window.overloaded(link.now)
    at_once = window.depth
    soon, _ = link.serve(window, CAUTION - 1)
    later, _ = link.serve(window, CAUTION)

    assert at_once == DEEPEST // 2
    assert max(soon) == DEEPEST // 2
    assert max(later) > DEEPEST // 2


def test_several_reads_refused_together_halve_once():
    window, link = Window(), Link(0.005, 100 * GiB)
    link.serve(window, 5)
    for delay in (0.0, 0.001, 0.002):
        window.overloaded(link.now + delay)

    assert window.depth == DEEPEST // 2


def test_a_source_that_goes_on_refusing_is_asked_for_one_read_at_a_time():
    window = Window()
    for second in range(10):
        window.overloaded(float(second))

    assert window.depth == 1


@pytest.mark.parametrize("chosen", [1, 7, 64])
def test_a_depth_chosen_by_an_operator_stays(chosen):
    window, link = Window(chosen, chosen, fixed=True), Link(0.005, GiB)
    depths, _ = link.serve(window, 10)

    assert {*depths} == {chosen}


def test_a_chosen_depth_yields_to_a_source_without_memory():
    window = Window(16, 16, fixed=True)
    window.overloaded(1.0)

    assert window.depth == 8


def test_the_depth_never_leaves_its_bounds():
    window, link = Window(deepest=24), Link(0.005, 100 * GiB)
    depths, _ = link.serve(window, 5)
    link.latency = 0.5
    slower, _ = link.serve(window, 60)
    link.latency = 5.0
    slowest, _ = link.serve(window, 600)

    assert max(depths) == 24
    assert min(slower + slowest) >= SHALLOWEST
    assert max(slower + slowest) <= 24


def test_the_gap_worth_reading_is_what_a_request_costs():
    window, link = Window(16, 16, fixed=True), Link(0.01, 100 * GiB)
    link.serve(window, 1)

    assert window.gap() == pytest.approx(REQUEST, rel=0.1)
    window, link = Window(64, 64, fixed=True), Link(0.01, GiB)
    link.serve(window, 5)

    assert 512 * KiB < window.gap() <= 1.1 * MiB


def test_nothing_measured_means_no_gap():
    assert Window().gap() == 0
