"""The VDDK stand-in behaves as a host under load, and breaks on demand, seen through nbdkit's real plugin.

What can be counted is counted, from the trace of reads. Where time is the behaviour, the lower bound is exact
(the stand-in never answers early) and the upper one is a comparison or has room for a loaded machine.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import demand, require
from tests.doubles import artifacts
from tests.doubles.flight import DEADLINE, Reader
from tests.doubles.served import allocated
from tests.doubles.vddk import Server, VddkDisk
from tests.doubles.vsphere import VSphere

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 64 * KIB
SIZE = 8 * MIB
NO_MEMORY = "error: [NFC ERROR] NfcFssrvrProcessErrorMsg: received NFC error 5 from server: "


@pytest.fixture(scope="module")
def nbd() -> Any:
    require("nbdkit")
    demand(None if artifacts.VDDK_PLUGIN.exists() else f"{artifacts.VDDK_PLUGIN} is not built")
    return pytest.importorskip("nbd")


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.img"
    path.write_bytes(bytes(1 + (i * 31 + i // KIB) % 255 for i in range(SIZE)))
    return path


@pytest.fixture
def content(image) -> bytes:
    return image.read_bytes()


@contextmanager
def connected(nbd: Any, server: Server) -> Iterator[Reader]:
    reader = Reader(nbd, server.uri)
    try:
        yield reader
    finally:
        reader.close()


@pytest.fixture
def disk(image, tmp_path, nbd) -> Iterator[Any]:  # noqa: ARG001 (nbd: skips without the tools)
    """Make a disk of the image with these settings; its servers end with the test."""
    servers: list[Server] = []

    class Disk(VddkDisk):
        def start(self, **options: Any) -> Server:
            servers.append(super().start(**options))
            return servers[-1]

    yield lambda **settings: Disk(tmp_path, settings.pop("image", image), **settings).__enter__()
    for server in servers:
        server.kill()


def chunks(count: int, first: int = 0) -> list[tuple[int, int]]:
    return [((first + i) * CHUNK, CHUNK) for i in range(count)]


def traced(path: Path) -> list[tuple[int, ...]]:
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()]


def took(action: Any) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


# --- trace and latency -----------------------------------------------------------------------------------


def test_a_disk_without_settings_serves_its_image(disk, nbd, content):
    with connected(nbd, disk().start()) as reader:
        assert reader.read((0, SIZE)) == [content]


def test_the_trace_has_every_read_and_the_depth_it_met(disk, nbd, tmp_path):
    trace = tmp_path / "trace"
    with connected(nbd, disk(latency_us=300_000, trace=trace).start(threads=8)) as reader:
        reader.read(*chunks(8))
        reader.read((SIZE - 512, 512))
    lines = traced(trace)
    assert sorted(line[:2] for line in lines[:8]) == chunks(8)
    assert [line[2] for line in lines[:8]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert lines[8:] == [(SIZE - 512, 512, 1)]


def test_a_client_that_reads_serially_is_seen_to(disk, nbd, tmp_path):
    trace = tmp_path / "trace"
    with connected(nbd, disk(trace=trace).start()) as reader:
        for one in chunks(20):
            reader.read(one)
    assert traced(trace) == [(start, length, 1) for start, length in chunks(20)]


def test_64_reads_in_flight_each_wait_their_own_latency(disk, nbd, content):
    with connected(nbd, disk(latency_us=200_000).start(threads=64)) as reader:
        start = time.monotonic()
        read = reader.read(*chunks(64))
        elapsed = time.monotonic() - start
    assert b"".join(part or b"" for part in read) == content[: 64 * CHUNK]
    assert 0.2 <= elapsed < 64 * 0.2 / 4


def test_jitter_adds_to_the_latency_and_is_the_same_for_the_same_seed(disk, nbd):
    def series(seed: int) -> list[float]:
        """How long each of five reads takes: the least of three runs, to leave out the machine's delays."""
        runs = []
        for _ in range(3):
            with connected(nbd, disk(latency_us=5_000, jitter_us=60_000, seed=seed).start()) as reader:
                runs.append([took(lambda: reader.read((0, 512))) for _ in range(5)])
        return [min(times) for times in zip(*runs, strict=True)]

    one, again, other = series(7), series(7), series(8)
    assert min(one) >= 0.005
    assert max(one) - min(one) > 0.02
    assert one == pytest.approx(again, abs=0.01)
    assert one != pytest.approx(other, abs=0.01)


# --- window ----------------------------------------------------------------------------------------------


def test_a_window_of_4_buffers_of_64_kib_moves_256_kib_per_latency(disk, nbd):
    """VDDK's own default. 2 MiB are 32 requests: 8 rounds of 4."""
    with connected(nbd, disk(latency_us=20_000, window="on").start()) as reader:
        elapsed = took(lambda: reader.read(*[(i * 512 * KIB, 512 * KIB) for i in range(4)]))
    assert 8 * 0.02 <= elapsed < 4 * 8 * 0.02


def test_a_larger_window_is_faster_and_no_window_fastest(disk, nbd):
    def elapsed(**settings: object) -> float:
        with connected(nbd, disk(latency_us=20_000, **settings).start()) as reader:
            return took(lambda: reader.read(*chunks(64)))

    small, large = elapsed(window="on"), elapsed(window="on", buf_size_64k=1, buf_count=16)
    assert small >= 16 * 0.02
    assert 4 * 0.02 <= large < small
    assert elapsed(buf_count=1) < large + 0.02 * 4  # without `window`, VDDK's keys count for nothing


def test_each_session_has_a_window_of_its_own(disk, nbd):
    server = disk(latency_us=40_000, window="on", buf_count=1).start()
    with connected(nbd, server) as one, connected(nbd, server) as other:
        start = time.monotonic()
        reads = [(reader, reader.submit(chunks(8))) for reader in (one, other)]
        for reader, pending in reads:
            reader.wait(pending)
        elapsed = time.monotonic() - start
    assert 8 * 0.04 <= elapsed < 16 * 0.04


# --- the host --------------------------------------------------------------------------------------------


def read_all(nbd: Any, server: Server) -> None:
    with connected(nbd, server) as reader:
        assert None not in reader.read(*[(i * MIB, MIB) for i in range(8)])


def test_two_processes_share_the_bandwidth_of_one_host(disk, nbd, tmp_path):
    settings = {"bandwidth": 8 * MIB, "host": tmp_path / "host"}
    servers = [disk(**settings).start() for _ in range(2)]
    assert 1.0 <= took(lambda: read_all(nbd, servers[0])) < 2.0
    with ThreadPoolExecutor(2) as pool:
        together = took(lambda: list(pool.map(lambda server: read_all(nbd, server), servers)))
    assert 2.0 <= together < 4.0


def test_processes_that_name_no_host_share_nothing(disk, nbd):
    servers = [disk(bandwidth=8 * MIB).start() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert 1.0 <= took(lambda: list(pool.map(lambda server: read_all(nbd, server), servers))) < 2.0


def test_a_read_beyond_the_nfc_memory_fails_and_the_next_one_that_fits_succeeds(disk, nbd, content):
    server = disk(latency_us=300_000, nfc_memory=MIB).start()
    with connected(nbd, server) as reader:
        read = reader.read(*[(i * 512 * KIB, 512 * KIB) for i in range(3)])
        assert [part is not None for part in read].count(True) == 2
        assert reader.read((2 * MIB, MIB)) == [content[2 * MIB : 3 * MIB]]
        assert reader.read((0, MIB + 512)) == [None]
    said = server.log.read_text()
    assert f"{NO_MEMORY}Failed to allocate the requested {512 * KIB + 24} bytes" in said
    assert f"{NO_MEMORY}Failed to allocate the requested {MIB + 512 + 24} bytes" in said
    assert "asynchronous read failed: Memory allocation failed. Out of memory" in said


def test_a_depth_that_just_fits_the_nfc_memory_never_fails(disk, nbd):
    """A completed read has given its memory back before the client hears of it."""
    with connected(nbd, disk(nfc_memory=4 * CHUNK).start(threads=8)) as reader:
        ranges = chunks(128) * 4
        flying: list[tuple[int, Any]] = []
        for (start, length), index in zip(ranges, range(len(ranges)), strict=True):
            if len(flying) == 4:
                assert reader.wait([flying.pop(0)])[0] is not None, index
            flying += reader.submit([(start, length)])
        assert None not in reader.wait(flying)


def test_a_session_holds_no_more_nfc_memory_than_its_window(disk, nbd, tmp_path):
    """Two windows of 256 KiB fit 512 KiB whatever the clients ask for; a third does not."""
    settings = {"window": "on", "latency_us": 100_000, "nfc_memory": 512 * KIB, "host": tmp_path / "host"}
    one, two, three = [disk(**settings).start() for _ in range(3)]
    with connected(nbd, one) as a, connected(nbd, two) as b, connected(nbd, three) as c:
        first, second = a.submit([(0, 2 * MIB)]), b.submit([(0, 2 * MIB)])
        time.sleep(0.1)
        assert c.read((0, CHUNK)) == [None]
        assert None not in [*a.wait(first), *b.wait(second)]
        assert None not in c.read((0, 2 * MIB))


def test_what_a_killed_process_held_comes_back(disk, nbd, content, tmp_path):
    limits = {"nfc_memory": MIB, "sessions": 2, "host": tmp_path / "host"}
    doomed = disk(fault_read="hang", trace=tmp_path / "trace", **limits).start()
    survivor = disk(**limits).start()
    stuck = Reader(nbd, doomed.uri)
    stuck.submit([(0, MIB)])
    stuck.handle.poll(100)
    wait_until(lambda: (tmp_path / "trace").read_text() != "")
    with connected(nbd, survivor) as reader:
        assert reader.read((0, 512)) == [None]
        with pytest.raises(nbd.Error):
            Reader(nbd, survivor.uri)
        doomed.kill()
        assert reader.read((0, MIB)) == [content[:MIB]]
        with connected(nbd, survivor) as another:
            assert another.read((0, 512)) == [content[:512]]
    assert "error: VixDiskLib_Open: " in survivor.log.read_text()
    assert "The server refused connection" in survivor.log.read_text()


def test_a_closed_disk_makes_room_for_the_next(disk, nbd):
    server = disk(sessions=1).start()
    first = Reader(nbd, server.uri)
    with pytest.raises(nbd.Error):
        Reader(nbd, server.uri)
    first.close()
    wait_until(lambda: connects(nbd, server))  # nbdkit closes the disk a moment after its client has gone


def connects(nbd: Any, server: Server) -> bool:
    try:
        Reader(nbd, server.uri).close()
    except nbd.Error:
        return False
    return True


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- faults ----------------------------------------------------------------------------------------------


def test_a_bad_range_fails_every_read_that_touches_it_and_no_other(disk, nbd, content):
    fault = f"at={MIB},length=4096,error=EIO"
    with connected(nbd, disk(fault_read=fault).start()) as reader:
        for _ in range(2):
            assert reader.read((MIB - 512, 1024), (MIB + 3584, 512), (0, 2 * MIB)) == [None, None, None]
        good = reader.read((MIB - 512, 512), (MIB + 4096, 512))
    assert good == [content[MIB - 512 : MIB], content[MIB + 4096 : MIB + 4608]]


def test_a_fault_with_times_passes(disk, nbd, content):
    with connected(nbd, disk(fault_read="at=0,error=EIO,times=2").start()) as reader:
        read = [reader.read((0, 512))[0] for _ in range(4)]
    assert read == [None, None, content[:512], content[:512]]


def test_every_third_read_fails(disk, nbd):
    with connected(nbd, disk(fault_read="every=3,error=EIO").start()) as reader:
        failed = [reader.read((0, 512)) == [None] for _ in range(9)]
    assert failed == [False, False, True] * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("EIO", "A file access error occurred on the host or guest operating system"),
        ("ENOMEM", "Memory allocation failed. Out of memory"),
        ("EACCES", "You do not have access rights to this file"),
        ("ENOENT", "A file was not found"),
        ("EBUSY", "The server refused connection"),
        ("3014", "Insufficient permissions in the host operating system"),
    ],
)
def test_a_failed_read_says_what_vddk_would(disk, nbd, name, text):
    server = disk(fault_read=f"number=1,error={name}").start()
    with connected(nbd, server) as reader:
        assert reader.read((0, 512)) == [None]
    assert f"asynchronous read failed: {text}\n" in server.log.read_text()


def test_a_read_that_hangs_leaves_the_others_alone(disk, nbd, content):
    with connected(nbd, disk(fault_read="number=2,hang").start()) as reader:
        assert reader.read((0, 512)) == [content[:512]]
        ((cookie, _),) = reader.submit([(0, 512)])
        assert reader.read((512, 512)) == [content[512:1024]]
        reader.handle.poll(300)
        assert not reader.handle.aio_command_completed(cookie)


def test_the_process_dies_at_the_read_that_says_exit(disk, nbd, content):
    server = disk(fault_read="number=3,exit").start()
    reader = Reader(nbd, server.uri)
    assert reader.read((0, 512), (512, 512)) == [content[:512], content[512:1024]]
    assert reader.read((0, 512)) == [None]
    assert server.process.wait(DEADLINE) == 1


def test_counts_survive_a_restart_where_a_file_keeps_them(disk, nbd, content, tmp_path):
    broken = disk(fault_read="number=3,exit", faults=tmp_path / "faults")
    for reads in (2, 9):
        server = broken.start()
        with connected(nbd, server) as reader:
            for _ in range(reads):
                assert reader.read((0, 512)) == [content[:512]]
            if reads == 2:
                assert reader.read((0, 512)) == [None]


def test_one_bit_flips_at_its_offset(disk, nbd, content):
    with connected(nbd, disk(fault_read=f"flip={MIB + 7},times=1").start()) as reader:
        (wrong,) = reader.read((0, 2 * MIB))
        (right,) = reader.read((0, 2 * MIB))
    assert right == content[: 2 * MIB]
    assert [i for i, (a, b) in enumerate(zip(wrong, right, strict=True)) if a != b] == [MIB + 7]
    assert wrong[MIB + 7] ^ right[MIB + 7] == 1


# --- allocated blocks ------------------------------------------------------------------------------------


def test_hidden_blocks_are_called_holes_and_still_hold_their_data(disk, nbd, content):
    hide = f"hide:{CHUNK}:{CHUNK};hide:{4 * MIB}:{2 * CHUNK}"
    with connected(nbd, disk(fault_blocks=hide).start()) as reader:
        assert allocated(reader.handle) == [
            (0, CHUNK),
            (2 * CHUNK, 4 * MIB - 2 * CHUNK),
            (4 * MIB + 2 * CHUNK, 4 * MIB - 2 * CHUNK),
        ]
        assert reader.read((CHUNK, CHUNK)) == [content[CHUNK : 2 * CHUNK]]


def test_a_query_for_allocated_blocks_takes_its_time(disk, nbd):
    with connected(nbd, disk(query_us=150_000).start()) as reader:
        assert took(lambda: allocated(reader.handle)) >= 0.15


# --- the settings themselves -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latencyus": 5}, "transferd.double.latencyus = 5: the stand-in has no such key"),
        ({"latency_us": "5ms"}, "transferd.double.latency_us = 5ms: no such value"),
        ({"window": "yes"}, "transferd.double.window = yes: no such value"),
        ({"fault_read": "at=0"}, "transferd.double.fault.read: cannot make sense of fault 1 of at=0"),
        (
            {"fault_read": "hang;every=0,exit"},
            "transferd.double.fault.read: cannot make sense of fault 2 of hang;every=0,exit",
        ),
        (
            {"fault_read": "error=EWHAT"},
            "transferd.double.fault.read: cannot make sense of fault 1 of error=EWHAT",
        ),
        ({"fault_blocks": "hide:1:2"}, "transferd.double.fault.blocks: cannot make sense of hide:1:2"),
        ({"trace": "/nowhere/trace"}, "cannot write the trace /nowhere/trace: No such file or directory"),
        ({"host": "/nowhere/host"}, "cannot share /nowhere/host: No such file or directory"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_setting_that_makes_no_sense_is_refused(disk, settings, words):
    server = disk(**settings).start()  # nbdkit loads VDDK after it listens
    assert server.process.wait(DEADLINE) == 1
    assert f"error: VixDiskLib: {words}" in server.log.read_text()


def test_a_vsphere_passes_its_vddk_settings_on(tmp_path):
    vsphere = VSphere(tmp_path, [], latency_us=7, vddk={"window": "on", "buf_count": 2, "fault_read": "hang"})
    assert vsphere.vddk_config() == {
        "transferd.double.state": str(tmp_path / "vsphere" / "registry"),
        "transferd.double.latency_us": "7",
        "transferd.double.window": "on",
        "vixDiskLib.nfcAio.Session.BufCount": "2",
        "transferd.double.fault.read": "hang",
    }


def test_any_client_can_start_the_nbdkit_it_wants(disk, tmp_path, content):
    """As virt-v2v does: nbdcopy behind its filters. `retry` lets one read through at a time."""
    require("nbdcopy")
    trace, out = tmp_path / "trace", tmp_path / "out"
    with disk(trace=trace).serve(filters=["cow", "blocksize", "retry"], extra=["maxdata=256K"]) as uri:
        subprocess.run([shutil.which("nbdcopy") or "nbdcopy", uri, str(out)], check=True, timeout=DEADLINE)
    assert out.read_bytes() == content
    lines = traced(trace)
    assert {line[2] for line in lines} == {1}
    assert max(line[1] for line in lines) == 256 * KIB
    assert sum(line[1] for line in lines) == SIZE
