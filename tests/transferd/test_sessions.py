"""Sessions come and go against modelled sources, in virtual time."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from transferd.sessions import REST, TRIAL, Growth
from transferd.units import MiB

LOOK = 0.1  # s between two looks of the engine


def played(most: int, goodput: Callable[[int], float], seconds: float, sessions: int = 1) -> list[int]:
    """How many sessions there were at every look at a source that gives `goodput` to so many."""
    growth, now, read, seen = Growth(most), 1.0, 0.0, []
    while now < seconds:
        sessions += growth.decide(sessions, int(read), now)
        seen.append(sessions)
        read += goodput(sessions) * LOOK
        now += LOOK
    return seen


def test_sessions_are_added_while_each_brings_more():
    assert played(4, lambda sessions: sessions * 100 * MiB, 60)[-1] == 4


def test_a_session_that_brings_nothing_is_given_back_after_a_trial():
    seen = played(4, lambda _sessions: 100 * MiB, REST)

    assert max(seen) == 2
    assert seen[-1] == 1
    assert seen.count(2) * LOOK == pytest.approx(TRIAL, abs=3 * LOOK)


def test_growth_stops_at_the_number_that_the_source_can_serve():
    seen = played(16, lambda sessions: min(sessions, 3) * 100 * MiB, REST)

    assert max(seen) == 4
    assert seen[-1] == 3


def test_sessions_that_disturb_each_other_are_given_back():
    assert played(4, lambda sessions: 100 * MiB / sessions, REST)[-1] == 1


def test_what_did_not_pay_is_tried_again_after_a_rest():
    seen = played(4, lambda _sessions: 100 * MiB, 4 * REST)
    trials = [place * LOOK for place, pair in enumerate(pairwise(seen)) if pair == (1, 2)]

    assert len(trials) >= 3
    assert all(after - before >= REST for before, after in pairwise(trials))


def test_the_operators_limit_holds():
    assert max(played(2, lambda sessions: sessions * 100 * MiB, 60)) == 2
    assert {*played(1, lambda sessions: sessions * 100 * MiB, 60)} == {1}


def test_a_silent_source_gets_no_further_sessions():
    assert {*played(4, lambda _sessions: 0.0, 60)} == {1}
