"""What one host has to give is divided among the living processes that read from it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import wait_until
from transferd import nfc, shares
from transferd.errors import UsageError
from transferd.shares import Share
from transferd.units import KiB, MiB

OTHER = """
import time
from transferd.shares import Share
share = Share("esx1")
print("in", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(shares, "LOOK", 0.0)
    return tmp_path


def other() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def possible(share: Share) -> int:
    """Bytes that can be in flight, in MiB steps."""
    count = 0
    while share.take(MiB, first=False):
        count += 1
    share.give(count * MiB)
    return count


def test_alone_a_process_has_all_of_it():
    assert possible(Share("esx1", 30 * MiB, 12)) == 30


def test_each_living_process_has_an_equal_part_and_a_dead_one_none():
    share = Share("esx1", 30 * MiB, 12)
    with other() as second, other() as third:
        assert possible(share) == 10
        third.send_signal(signal.SIGKILL)
        third.wait()
        assert possible(share) == 15
        second.kill()
    wait_until(lambda: possible(share) == 30)


def test_another_host_is_none_of_its_business():
    kept = Share("esx2", 30 * MiB, 12)

    assert possible(Share("esx1", 30 * MiB, 12)) == 30
    assert possible(kept) == 30


def test_the_sessions_of_all_hosts_are_their_vcenter_s():
    center = Share("vcenter", sessions=3)
    one, two = Share("esx1", sessions=2, above=center), Share("esx2", sessions=2, above=center)

    assert [one.enter(first=False) for _ in range(3)] == [True, True, False]
    assert [two.enter(first=False) for _ in range(2)] == [True, False]
    one.leave()
    assert two.enter(first=False)


def test_sessions_are_divided_too_and_the_first_is_never_refused():
    share = Share("esx1", 30 * MiB, 2)
    with other() as second:
        assert share.enter(first=False)
        assert not share.enter(first=False)
        assert share.enter(first=True)
        second.kill()


@pytest.mark.parametrize("host", ["../../etc", "a/b", "", "..", "esx\n1"])
def test_a_host_s_name_stays_in_its_folder(runtime, host):
    kept = Share(host)
    folder = runtime / f"transferd-{os.getuid()}"

    assert len([*folder.iterdir()]) == 1
    assert possible(kept) > 0


def test_a_folder_that_others_may_write_is_refused(runtime):
    (runtime / f"transferd-{os.getuid()}").mkdir(mode=0o777)
    (runtime / f"transferd-{os.getuid()}").chmod(0o777)

    with pytest.raises(UsageError, match="this user alone"):
        Share("esx1")


@pytest.mark.parametrize(("sessions", "units"), [(1, 16), (4, 16), (9, 16), (12, 12), (48, 3), (1000, 1)])
def test_vddk_s_buffers_fit_into_the_memory_of_a_host(sessions, units):
    made = nfc.settings({"other": "1"}, sessions)

    assert made == {nfc.SIZE: str(units), nfc.COUNT: "4", "other": "1"}
    assert sessions > 100 or units * 64 * KiB * 4 * sessions <= 38 * MiB


def test_what_the_operator_has_set_stays():
    assert nfc.settings({nfc.COUNT: "8"}, 4) == {nfc.COUNT: "8"}
