"""When a warm migration cuts over, and what downtime it predicts."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from transferd import downtime
from transferd.cutover import SIGNAL, Schedule
from transferd.errors import UsageError
from transferd.model import MigrationSpec, RoundState
from transferd.units import MiB


def spec(**more) -> MigrationSpec:
    return MigrationSpec.model_validate(
        {"schema": 1, "vcenter": "v", "vm": {"name": "web"}, "targetDir": "t", "mode": "warm"} | more
    )


def done(number: int, read: int, *, began: float = 0.0, copy_s: float = 10.0) -> RoundState:
    return RoundState(
        number=number, began=began, read_bytes=read, copy_s=copy_s, snapshot_s=1.0, removal_s=2.0, copied=True
    )


ROUNDS = [done(0, 10_000 * MiB, copy_s=100.0), done(1, 600 * MiB, began=600.0)]


def test_nothing_is_predicted_before_a_round_has_copied_changes():
    assert downtime.predict(ROUNDS[:1], converts=True) is None


def test_the_prediction_follows_what_changes_and_how_fast_it_is_copied():
    """1 MiB/s becomes dirty, the last round took 13 s, copying manages 100 MiB/s."""
    found = downtime.predict(ROUNDS, converts=False)

    assert found is not None
    assert found.copy == downtime.LEAST_ROUND
    assert found.total == downtime.LEAST_ROUND + 3.0 + downtime.SHUTDOWN
    busy = downtime.predict([ROUNDS[0], done(1, 60_000 * MiB, began=600.0, copy_s=600.0)], converts=True)
    assert busy is not None
    assert busy.copy == pytest.approx(603.0)
    assert busy.total == pytest.approx(603.0 + 3.0 + downtime.SHUTDOWN + downtime.CONVERSION)


async def test_now_is_after_as_many_rounds_as_were_asked_for():
    schedule = Schedule.of(spec(precopy={"rounds": 3}))

    assert [schedule.due([ROUNDS[0]] * count, None) for count in (1, 2, 3, 4)] == [False, False, True, True]


async def test_a_target_has_to_be_predicted():
    schedule = Schedule.of(spec(precopy={"downtimeTarget": "60s", "rounds": 1}))
    predicted = downtime.predict(ROUNDS, converts=False)

    assert not schedule.due(ROUNDS[:1], None)
    assert schedule.due(ROUNDS, predicted)
    assert not Schedule.of(spec(precopy={"downtimeTarget": "10s"})).due(ROUNDS, predicted)


async def test_a_time_is_waited_for_and_the_interval_is_cut_short_by_it():
    moment = datetime.now(tz=UTC) + timedelta(seconds=1)
    schedule = Schedule.of(spec(cutover=moment.isoformat(), precopy={"interval": "1h"}))
    began = time.monotonic()

    assert not schedule.due(ROUNDS, None)
    await schedule.wait(time.time())
    assert time.monotonic() - began < 2
    await asyncio.sleep(max(moment.timestamp() - time.time(), 0))
    assert schedule.due(ROUNDS, None)


@pytest.mark.parametrize("cutover", ["signal", "2099-01-01T00:00:00+00:00"])
async def test_the_operator_s_signal_cuts_over_and_ends_a_wait(cutover):
    schedule = Schedule.of(spec(cutover=cutover, precopy={"interval": "1h"}))
    assert not schedule.due(ROUNDS, None)
    os.kill(os.getpid(), SIGNAL)
    await schedule.wait(time.time())

    assert schedule.due([], None)


@pytest.mark.parametrize("cutover", ["", "soon", "2026-12-01T02:00:00", "12:00"])
async def test_a_cutover_that_cannot_be_meant_is_refused(cutover):
    with pytest.raises(UsageError, match="zone"):
        Schedule.of(spec(cutover=cutover))
