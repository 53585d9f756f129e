"""Rows F01 to F13 of the fault matrix: what a source can do to a copy, played by real servers.

Every test ends in the bytes of the target, an exit code and the result document. A copy that ends well holds
the disk, whatever happened on the way; one that cannot says where, and leaves a journal to go on with.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import ended, refused, started, transferd, wait_until
from tests.conftest import require
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.faults.nbd_fuzz import copy_from_liar
from tests.faults.proxy import BlackHole, Close, Proxy, Reset, Resize
from tests.nbd import nbdkits_of, our_nbdkits
from transferd.plan import BLOCK
from transferd.units import KiB, MiB

DISK = "ABCD-EFG0HIJ" * 2  # six blocks, each with data
PATIENT = ("--patience", "1s")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "source", tail=3 * 512)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def copied(tmp_path: Path, source: Path, target: Path) -> Callable[..., dict]:
    """Judge a copy that must end well: the disk is on the target, and the result of it is returned."""
    result = tmp_path / "result.json"

    def judged(*arguments: object, meanwhile: Callable[[subprocess.Popen[str]], None] | None = None) -> dict:
        with started("copy", *arguments, target, "--result", result) as run:
            if meanwhile is not None:
                meanwhile(run)
            done = ended(run)
        assert done.returncode == 0, done.stderr
        assert source.read_bytes() == target.read_bytes()
        disk = json.loads(result.read_text())["disks"][0]
        assert disk["digest"] == transferd("digest", source).stdout.strip()
        return disk

    return judged


@pytest.fixture
def proxied(nbd_server, source: Path):
    """A proxy before a server of the disk that does to the n-th connection what the n-th script says."""
    with ExitStack() as proxies:
        server = nbd_server("file", str(source))
        yield lambda *scripts: proxies.enter_context(Proxy(server.socket, *scripts))


def holds(target: Path, count: int) -> bool:
    """The copy is under way: `count` bytes of the target are allocated."""
    return target.exists() and target.stat().st_blocks * 512 >= count


# --- errors of reads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["1%", "20%"])
def test_f01_reads_that_fail_now_and_then_are_asked_again(copied, nbd_server, source: Path, rate):
    server = nbd_server("--filter=error", "file", str(source), f"error-pread-rate={rate}")
    done = copied(server.uri, "--request-size", "128KiB")

    assert done["reconnects"] == 0
    assert done["retries"] > 0 or rate == "1%"


def bad_at(offset: int, source: Path) -> list[str]:
    """Arguments of an nbdkit that answers EIO to every read that touches this byte."""
    touches = f"[ $4 -le {offset} ] && [ $(($4 + $3)) -gt {offset} ]"
    read = f"dd if={source} skip=$4 count=$3 iflag=count_bytes,skip_bytes status=none"
    return [
        "eval",
        f"get_size=stat -c %s {source}",
        f"pread=if {touches}; then echo EIO bad sector >&2; exit 1; fi; {read}",
    ]


def test_f02_a_bad_sector_is_named_and_the_rest_is_kept_for_a_better_day(
    copied, nbd_server, source: Path, target: Path
):
    bad = 9 * MiB + 5 * 512
    server = nbd_server(*bad_at(bad, source))
    run = transferd("copy", server.uri, target, "--connections", 1, "--queue-depth", 1)

    refused(run, 4, f"offset {9 * MiB}", "6 attempts")
    assert copied(nbd_server("file", str(source)).uri)["resumed_blocks"] >= 1


def test_f03_a_source_that_cannot_tell_its_extents_is_read_whole_with_one_warning(
    copied, nbd_server, source: Path
):
    done = copied(nbd_server("--filter=error", "file", str(source), "error-extents-rate=100%").uri)

    assert done["data_bytes"] == done["read_bytes"] == source.stat().st_size
    assert len(done["warnings"]) == 1
    assert "extents" in done["warnings"][0]


def test_f04_a_hole_that_holds_data_is_found_out_and_the_next_run_reads_everything(
    copied, nbd_server, source: Path, target: Path, tmp_path: Path
):
    size = source.stat().st_size
    (tmp_path / "extents").write_text(f"0 {4 * MiB} data\n{4 * MiB} {size - 4 * MiB} hole,zero\n")
    lying = nbd_server("--filter=extentlist", "file", str(source), f"extentlist={tmp_path / 'extents'}")

    refused(transferd("copy", lying.uri, target), 6, "calls a range empty that holds data", "run the command")
    again = copied(lying.uri)
    assert again["data_bytes"] == size
    assert any("lied" in warning for warning in again["warnings"])


# --- servers and connections that go away ----------------------------------------------------------------


def slow(source: Path) -> list[str]:
    """A server that takes a second or two for the disk."""
    return ["--filter=delay", "file", str(source), "rdelay=50ms"]


ONE_BY_ONE = ("--connections", 1, "--queue-depth", 1, "--request-size", "512KiB")


def test_f05_a_server_that_is_killed_and_comes_back_costs_a_reconnection(
    copied, nbd_server, source: Path, target: Path
):
    server = nbd_server(*slow(source))

    def kill(_run: object) -> None:
        wait_until(lambda: holds(target, BLOCK))
        server.kill()
        time.sleep(0.5)
        server.start()

    done = copied(server.uri, *ONE_BY_ONE, "--patience", "5s", meanwhile=kill)

    assert done["reconnects"] >= 1
    assert done["read_bytes"] < source.stat().st_size + BLOCK  # what had come was not read again


def test_f05_a_server_that_stays_away_is_exit_10_and_the_copy_goes_on_later(
    copied, nbd_server, source: Path, target: Path
):
    server = nbd_server(*slow(source))
    with started("copy", server.uri, target, *ONE_BY_ONE, *PATIENT) as run:
        wait_until(lambda: holds(target, 2 * BLOCK))
        server.kill()
        done = ended(run)

    refused(done, 10, "attempts", "run the command again")
    server.start()
    assert copied(server.uri)["resumed_blocks"] >= 1


def test_f07_a_server_that_hangs_for_a_while_is_opened_anew(copied, nbd_server, source: Path, target: Path):
    server = nbd_server(*slow(source))

    def freeze(_run: object) -> None:
        wait_until(lambda: holds(target, BLOCK))
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(2.0)
        server.process.send_signal(signal.SIGCONT)

    done = copied(server.uri, *ONE_BY_ONE, *PATIENT, meanwhile=freeze)

    assert done["reconnects"] >= 1


def test_f07_a_server_that_never_answers_again_ends_the_copy_in_time(
    copied, nbd_server, source: Path, target: Path
):
    server = nbd_server(*slow(source))
    with started("copy", server.uri, target, *ONE_BY_ONE, *PATIENT) as run:
        wait_until(lambda: holds(target, 2 * BLOCK))
        server.process.send_signal(signal.SIGSTOP)
        done = ended(run, 30)
    server.process.send_signal(signal.SIGCONT)

    refused(done, 10, "no answer within 1 s")
    assert copied(server.uri)["resumed_blocks"] >= 1


def test_f07_three_hung_sessions_in_a_row_are_an_error_of_the_source(proxied, target: Path):
    proxy = proxied(*[[BlackHole(after=2 * KiB)]] * 9)
    run = transferd("copy", proxy.uri, target, "--connections", 1, *PATIENT)

    refused(run, 4, "no answer within 1 s, 3 times", "offset 0")
    assert proxy.held_by_client() == 0


@pytest.mark.parametrize("after", [0, 200, 64 * KiB + 7, 5 * MiB + 11])
@pytest.mark.parametrize("cut", [Reset, Close], ids=lambda cut: cut.__name__.lower())
def test_f08_a_connection_that_is_cut_anywhere_is_made_anew(copied, proxied, cut, after):
    proxy = proxied([cut(after)], [cut(after + MiB)])
    done = copied(proxy.uri, "--connections", 1)

    assert len(proxy.links) >= 3
    assert done["reconnects"] >= (after > 200) * 2
    assert done["read_bytes"] - done["verify"]["audited_bytes"] == done["data_bytes"]


def test_f09_a_black_hole_is_left_after_the_patience_and_no_connection_leaks(copied, proxied):
    proxy = proxied([BlackHole(after=5 * MiB)], [BlackHole(after=6 * MiB)])
    done = copied(proxy.uri, "--connections", 1, *PATIENT)

    assert done["reconnects"] == 2
    assert len(proxy.links) == 3
    assert proxy.held_by_client() == 0


# --- slow sources ----------------------------------------------------------------------------------------


def test_f10_a_long_way_is_filled_with_reads_and_no_patience_is_lost(
    copied, nbd_server, source: Path, tmp_path: Path
):
    log = tmp_path / "log"
    server = nbd_server(
        "--filter=log", "--filter=delay", "-t", "32", "file", str(source), f"logfile={log}", "rdelay=200ms"
    )
    depth = ("--connections", 1, "--queue-depth", 16, "--request-size", "256KiB")
    done = copied(server.uri, *depth, *PATIENT)

    flight = most = 0
    for line in log.read_text().splitlines():
        flight += (" Read id=" in line and line.endswith("...")) - ("...Read id=" in line)
        most = max(most, flight)
    assert most == 16
    assert (done["retries"], done["reconnects"]) == (0, 0)


def test_f11_a_slow_source_is_no_hung_source(copied, nbd_server, source: Path):
    server = nbd_server("--filter=rate", "file", str(source), "rate=32M")  # bits: about 4 MiB a second
    done = copied(server.uri, "--patience", "2s", "--connections", 1)

    assert (done["retries"], done["reconnects"]) == (0, 0)
    assert done["elapsed_s"] > 2  # or it was not slow


# --- servers that lie ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(100, 108))
def test_f12_malformed_replies_never_make_a_wrong_copy(seed, tmp_path: Path):
    assert copy_from_liar(seed, tmp_path, *PATIENT).complaint is None


@pytest.mark.parametrize("change", [-512, 512, 1 << 40], ids=["shorter", "longer", "absurd"])
def test_f12_a_disk_of_another_size_after_a_reconnection_is_refused(
    proxied, source: Path, target: Path, change
):
    size = source.stat().st_size + change
    proxy = proxied([Close(after=6 * MiB)], [Resize(size)])

    refused(
        transferd("copy", proxy.uri, target, "--connections", 1), 4, f"came back with {size} bytes", "--fresh"
    )


def test_f12_a_size_beyond_the_disk_is_no_success(proxied, source: Path, target: Path):
    proxy = proxied(*[[Resize(source.stat().st_size + BLOCK)]] * 9)
    run = transferd("copy", proxy.uri, target, *PATIENT)

    refused(run, 4, "offset")


# --- VDDK ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory):
    require("nbdkit", "gcc", "make")
    folder = tmp_path_factory.mktemp("vsphere")
    image = dsl.write(DISK, folder / "image", tail=3 * 512)
    with VSphere(folder, [VM("on", disks=[Disk(image)], powered_on=True)]) as running:
        yield running


@pytest.fixture
def vddk(vsphere, tmp_path: Path):
    """The running VM's disk, as arguments, with a stand-in that does as told; nothing is left of it."""

    def told(**settings: object) -> list[object]:
        vsphere.vddk = {"faults": tmp_path / "faults", **settings}
        path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")
        return ["--vcenter", path, "--vm", "on", "--disk", 0]

    yield told
    wait_until(lambda: not our_nbdkits())
    assert vsphere.snapshots("on") == []


def test_f01_vddk_reads_that_fail_now_and_then_are_asked_again(copied, vddk):
    done = copied(*vddk(fault_read="every=5,error=EIO"), "--request-size", "256KiB")

    assert done["retries"] >= 5
    assert done["reconnects"] == 0


def test_f02_vddk_a_bad_sector_is_named_and_the_snapshot_removed(vddk, target: Path):
    bad = 9 * MiB + 5 * 512
    run = transferd("copy", *vddk(fault_read=f"at={bad},error=EIO"), target)

    refused(run, 4, f"offset {9 * MiB}", "VM on")


def test_f05_vddk_a_killed_nbdkit_is_started_anew(copied, vddk, target: Path):
    def kill(run: subprocess.Popen[str]) -> None:
        wait_until(lambda: holds(target, BLOCK))
        os.kill(nbdkits_of(run)[0], signal.SIGKILL)

    done = copied(*vddk(latency_us=50_000), *ONE_BY_ONE, meanwhile=kill)

    assert done["reconnects"] == 1
    assert done["retries"] >= 1


def test_f05_vddk_a_crash_of_the_library_at_every_tenth_read_costs_reconnections(copied, vddk):
    done = copied(*vddk(fault_read="every=10,exit"), "--connections", 1, "--queue-depth", 2)

    assert done["reconnects"] >= 1


def test_f06_vddk_no_nbdkit_outlives_a_killed_copy(vddk, vsphere, target: Path):
    with started("copy", *vddk(latency_us=300_000), *ONE_BY_ONE, target) as run:
        wait_until(lambda: holds(target, 64 * KiB))
        assert our_nbdkits()
        run.kill()
        ended(run)
    wait_until(lambda: not our_nbdkits(), 5)

    with vsphere.connect() as service:  # the snapshot is the next run's to find: here an operator's
        (vm,) = service.content.rootFolder.childEntity[0].vmFolder.childEntity
        vm.RemoveAllSnapshots_Task()
    wait_until(lambda: vsphere.snapshots("on") == [])


def test_f07_vddk_a_stopped_nbdkit_is_killed_and_opened_anew(copied, vddk, target: Path):
    stopped: list[int] = []

    def freeze(run: subprocess.Popen[str]) -> None:
        wait_until(lambda: holds(target, BLOCK))
        stopped.append(nbdkits_of(run)[0])
        os.kill(stopped[0], signal.SIGSTOP)

    done = copied(*vddk(latency_us=50_000), *ONE_BY_ONE, "--patience", "2s", meanwhile=freeze)

    assert done["reconnects"] == 1
    assert not Path(f"/proc/{stopped[0]}").exists()


def test_f07_vddk_a_call_that_never_returns_is_left_behind(copied, vddk):
    done = copied(*vddk(fault_read="number=5,times=1,hang"), "--patience", "2s")

    assert done["reconnects"] == 1


def test_f07_vddk_a_disk_that_hangs_every_time_is_exit_4(vddk, target: Path):
    run = transferd("copy", *vddk(fault_read=f"at={9 * MiB},hang"), target, *ONE_BY_ONE, *PATIENT)

    refused(run, 4, "3 times", f"offset {9 * MiB}")


@pytest.mark.parametrize("memory", [MiB, 3 * MiB])
def test_f13_vddk_a_host_without_nfc_memory_makes_a_copy_slower_and_never_fail(copied, vddk, memory):
    done = copied(*vddk(nfc_memory=memory, latency_us=20_000), "--queue-depth", 8)

    assert done["overloads"] > 0
    assert done["reconnects"] == 0
