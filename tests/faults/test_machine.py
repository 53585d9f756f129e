"""F32, F33, F41, F42, F43: the copy on storage that only a kernel can make fail. One boot runs every case."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import demand
from tests.faults import machine
from transferd.units import MiB

pytestmark = pytest.mark.machine

CASES = Path(__file__).with_name("machine_cases.py")
DEADLINE = 600  # s; about 90 on a machine with nothing else to do
DISKS = {"target": 64 * MiB, "log": 512 * MiB, "replayed": 64 * MiB}  # sparse files
PEAK = 150  # MiB that a copy may take (design section 5)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the machine saw, by case."""
    demand(machine.unavailable())
    folder = tmp_path_factory.mktemp("machine")
    for name, size in DISKS.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)
    yield machine.run(CASES, disks=[folder / name for name in DISKS], deadline=DEADLINE)
    for name in DISKS:
        (folder / name).unlink()


def case(seen: dict[str, Any], name: str) -> Any:
    found = seen[name]
    assert "raised" not in found, found["raised"]
    return found


def ended_well(run: dict[str, Any]) -> None:
    assert run["exit"] == 0, run["said"]
    assert run["equal"]
    assert run["lacking"] == []


def refused(run: dict[str, Any], code: int, *words: str) -> None:
    assert run["exit"] == code, run["said"]
    assert "Traceback" not in run["said"]
    for word in words:
        assert word in run["said"]


def test_a_script_that_fails_is_an_error_with_its_last_words():
    demand(machine.unavailable())
    nowhere = CASES.with_name("no_such_script.py")

    with pytest.raises(machine.MachineError, match=r"ended with 2[\s\S]*no_such_script"):
        machine.run(nowhere, deadline=120)


def test_a_machine_that_takes_too_long_is_ended():
    demand(machine.unavailable())
    with pytest.raises(machine.MachineError, match="not finished within 1 s"):
        machine.run(CASES, deadline=1)


def test_f32_a_write_error_ends_the_copy_and_is_made_good(seen):
    runs = case(seen, "f32_write_eio")

    refused(runs["failed"], 5, "/dev/mapper/target: write at offset 4194304", "Input/output error")
    assert runs["failed"]["lacking"] == []
    ended_well(runs["again"])
    assert runs["again"]["disk"]["written_bytes"] < runs["again"]["disk"]["size"]


def test_f33_an_fsync_error_is_final_although_the_next_fsync_succeeds(seen):
    assert case(seen, "f33_the_kernel_tells_once") == [5, 0]
    runs = case(seen, "f33_fsync_eio")

    refused(runs["failed"], 5, "flush", "Input/output error")
    assert runs["failed"]["lacking"] == []
    ended_well(runs["again"])


def test_f41_the_recorder_keeps_what_was_synced_and_its_order(seen):
    assert case(seen, "plain_writer") == {"durable": [2, 4, 6, 8], "last_is_whole": True}


def test_f41_after_a_power_cut_anywhere_the_same_command_ends_with_the_right_bytes(seen):
    cuts = case(seen, "f41_power_loss")

    assert cuts["recorded"]["exit"] == 0, cuts["recorded"]["said"]
    assert cuts["durable_points"] >= 15
    assert {"", "torn"} <= {*cuts["kinds"]}
    assert {0, 4} <= {*cuts["resumed"]}  # the cuts fall before and behind the copy of the four blocks,
    assert len({*cuts["resumed"]}) >= 4  # and within it
    assert cuts["troubles"] == [], json.dumps(cuts["troubles"], indent=1)


def test_f41_a_copy_that_does_not_sync_its_target_would_be_found_out(seen):
    control = case(seen, "f41_without_fdatasync")

    assert control["recorded"]["exit"] == 0, control["recorded"]["said"]
    assert control["claims"] != []


def test_f42_dropped_writes_are_found_and_never_believed_again(seen):
    runs = case(seen, "f42_every_write_dropped")

    refused(runs["failed"], 6, "verify at offset", "/dev/mapper/target")
    assert runs["failed"]["lacking"] == []
    ended_well(runs["again"])


def test_f42_a_tail_that_was_dropped_is_not_found_in_the_page_cache(seen):
    runs = case(seen, "f42_the_tail_dropped")

    refused(runs["failed"], 6, "verify at offset 12582912", "/dev/mapper/target")
    ended_well(runs["again"])


def test_f42_writes_dropped_for_a_while_are_made_good_by_the_same_run(seen):
    run = case(seen, "f42_a_while_of_dropped_writes")

    ended_well(run)
    assert run["disk"]["verify"]["healed"] >= 1


def test_f42_what_was_found_is_not_believed_again_even_if_the_run_was_stopped(seen):
    runs = case(seen, "f42_stopped_when_found")

    refused(runs["stopped"], 8)
    assert runs["stopped"]["lacking"] == []
    ended_well(runs["again"])


def test_f42_after_power_loss_a_journal_that_storage_deceived_is_not_believed_blindly(seen):
    runs = case(seen, "f42_power_loss_after_dropped_writes")

    assert runs["cut"]["exit"] == -9
    assert runs["cut"]["lacking"] != []
    ended_well(runs["again"])
    assert runs["again"]["disk"]["verify"]["healed"] == len(runs["cut"]["lacking"])


def test_f43_slow_storage_costs_time_and_no_memory(seen):
    run = case(seen, "f43_slow_storage")

    ended_well(run)
    assert run["elapsed"] > 1.5  # a write, a flush and a read
    assert run["peak"] <= PEAK
