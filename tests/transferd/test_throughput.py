"""`transferd bench`: what it reports about a source must be what was injected there."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, ended, refused, started, transferd, wait_until
from tests.conftest import demand, require
from tests.doubles.vddk import VddkDisk
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.nbd import our_nbdkits
from transferd import nfc
from transferd.errors import Overload, SourceError
from transferd.extents import Extent
from transferd.plan import BLOCK
from transferd.throughput import advice
from transferd.throughput.limiter import Limiter, limiter, reason, window_bytes
from transferd.throughput.places import Places
from transferd.throughput.points import Load, Point, Setting, knee
from transferd.throughput.sweep import DEPTHS, SESSIONS, SIZES, Timetable
from transferd.units import GiB, KiB, MiB

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (memory, which nothing else is)


# --- the verdict on sources that are formulas -------------------------------------------------------------


def source(setting: Setting, *, latency: float, bandwidth: float = 100 * GiB, window: int = GiB) -> Point:
    """What Little's law says of a source whose sessions keep `window` bytes in flight."""
    flying = setting.sessions * min(setting.depth * setting.size, window)
    goodput = min(flying / (latency + setting.size / bandwidth), bandwidth)
    return Point(setting, goodput, setting.in_flight / goodput)


def swept(deepest: int = DEPTHS[-1], **model: float) -> list[Point]:
    """The lines that a sweep follows."""
    settings = [Setting(1, 1, SIZES[0])]
    settings += [Setting(1, depth, MiB) for depth in DEPTHS if depth <= deepest]
    settings += [Setting(count, deepest // count, MiB) for count in SESSIONS]
    settings += [Setting(1, min(max(8 * MiB // size, 1), 64), size) for size in SIZES if size != MiB]
    return [source(setting, **model) for setting in settings]


@pytest.mark.parametrize("latency", [0.0005, 0.005, 0.2])
def test_goodput_that_follows_depth_to_the_end_is_limited_by_the_source_s_latency(latency):
    points = swept(latency=latency)

    assert limiter(points) is Limiter.LATENCY
    assert knee(points).setting == Setting(1, 64, MiB)


@pytest.mark.parametrize("latency", [0.002, 0.05])
@pytest.mark.parametrize("window", [256 * KiB, MiB, 4 * MiB, 8 * MiB])
def test_goodput_that_follows_only_the_sessions_is_limited_by_the_window(window, latency):
    points = swept(window=window, latency=latency)

    assert limiter(points) is Limiter.WINDOW
    assert window_bytes(points) == pytest.approx(window, rel=0.05)
    assert knee(points).setting.sessions == SESSIONS[-1]


@pytest.mark.parametrize("rate", [10 * MiB, 110 * MiB, GiB])
@pytest.mark.parametrize("latency", [0.0005, 0.005])
def test_goodput_that_follows_nothing_is_limited_by_bandwidth(rate, latency):
    points = swept(bandwidth=rate, latency=latency)

    assert limiter(points) is Limiter.BANDWIDTH
    assert knee(points).goodput >= 0.95 * rate
    assert knee(points).setting.sessions == 1


def test_sessions_that_fill_the_link_before_the_last_of_them_are_limited_by_bandwidth():
    assert limiter(swept(window=MiB, latency=0.01, bandwidth=150 * MiB)) is Limiter.BANDWIDTH


def test_a_host_that_refuses_sessions_limits_where_more_of_them_would_help():
    points = [point for point in swept(window=MiB, latency=0.01) if point.setting.sessions == 1]
    points.append(Point(Setting(2, 32, MiB), failure=SourceError("no more sessions"), refused=True))

    assert limiter(points) is Limiter.HOST
    assert "no more sessions" in reason(Limiter.HOST, points)


def test_a_host_without_memory_limits_where_more_in_flight_would_help():
    points = [source(Setting(1, depth, MiB), latency=0.01) for depth in (1, 2, 4, 8)]
    points.append(Point(Setting(1, 16, MiB), failure=Overload("no memory"), refused=True))

    assert limiter(points) is Limiter.HOST


def test_a_host_that_refuses_sessions_does_not_limit_where_depth_still_helps():
    points = [point for point in swept(latency=0.01) if point.setting.sessions == 1]
    points.append(Point(Setting(2, 32, MiB), failure=SourceError("no more sessions"), refused=True))

    assert limiter(points) is Limiter.LATENCY


@pytest.mark.parametrize(
    ("load", "found"),
    [
        (Load(ours=0.95), Limiter.CPU),
        (Load(thread=0.97, ours=0.1), Limiter.CPU),
        (Load(machine=0.95, ours=0.4), Limiter.CPU),
        (Load(machine=0.99, ours=0.05), Limiter.BANDWIDTH),
    ],
    ids=["all cores are ours", "one thread is full", "full, and partly ours", "full of others"],
)
def test_a_best_lap_without_cpu_left_is_limited_by_it(load, found):
    points = [
        Point(point.setting, point.goodput, point.latency, load)
        for point in swept(bandwidth=GiB, latency=0.001)
    ]

    assert limiter(points) is found


def test_a_target_that_takes_less_than_the_source_gives_limits():
    points = swept(bandwidth=200 * MiB, latency=0.001)

    assert limiter(points, target=150 * MiB) is Limiter.TARGET
    assert limiter(points, target=300 * MiB) is Limiter.BANDWIDTH


def test_the_knee_is_the_least_that_is_within_a_twentieth_of_the_best():
    rates = {1: 50.0, 2: 96.0, 4: 99.0, 8: 100.0}
    points = [Point(Setting(1, depth, MiB), rate) for depth, rate in rates.items()]

    assert knee(points).setting.depth == 2


def test_sessions_more_are_not_worth_a_tenth():
    points = [Point(Setting(1, 8, MiB), 100.0), Point(Setting(4, 2, MiB), 110.0)]

    assert knee(points).setting.sessions == 1


# --- what is advised --------------------------------------------------------------------------------------


def test_the_advised_command_survives_a_shell_whatever_the_names():
    words = ["--vcenter", "v.yaml", "--vm", "a b;$(id)'", "--disk", "0"]

    command = advice.copy_command(words, Setting(2, 16, 256 * KiB))

    options = ["--request-size", "256KiB", "--queue-depth", "16", "--connections", "2"]
    assert shlex.split(command) == ["transferd", "copy", *words, "TARGET", *options]


@pytest.mark.parametrize(
    ("config", "buffers"),
    [({}, ("16", "4")), ({nfc.SIZE.upper(): "16"}, ("16", "8"))],
    ids=["VDDK's defaults", "enlarged already"],
)
def test_a_window_is_to_be_enlarged_by_vddk_s_own_settings(config, buffers):
    points = swept(window=256 * KiB, latency=0.005)

    advised = advice.vddk_config(Limiter.WINDOW, points, config)

    assert advised == dict(zip((nfc.SIZE, nfc.COUNT), buffers, strict=True))
    assert advice.vddk_config(Limiter.BANDWIDTH, points, config) == {}


# --- where and how long it reads --------------------------------------------------------------------------


def test_nothing_is_read_twice_before_all_data_was_read_once():
    extents = [Extent(0, 40 * BLOCK, zero=False), Extent(40 * BLOCK, 20 * BLOCK, zero=True)]
    extents.append(Extent(60 * BLOCK, 30 * BLOCK, zero=False))
    places = Places(extents, 90 * BLOCK)

    starts: list[int] = []
    for _ in range(7):
        places.begin()
        starts += [places.take(MiB).start for _ in range(40)]

    assert places.count == 70
    assert len(set(starts)) == 70 * 4
    assert not places.again
    assert not any(40 * BLOCK <= start < 60 * BLOCK for start in starts)
    places.take(MiB)
    assert places.again


def test_a_disk_with_only_scattered_data_is_read_where_it_has_some():
    extents = [Extent(n * 64 * KiB, 64 * KiB, zero=bool(n % 100)) for n in range(1000)]

    places = Places(extents, 1000 * 64 * KiB)

    assert places.count == 10
    assert {places.take(BLOCK).start % BLOCK for _ in range(10)} == {0}


def test_the_last_block_of_a_disk_is_not_read_beyond_its_end():
    places = Places([Extent(0, BLOCK + 512, zero=False)], BLOCK + 512)

    taken = Counter(places.take(BLOCK).length for _ in range(2))

    assert set(taken) <= {BLOCK, 512}


def test_time_that_is_saved_belongs_to_the_laps_that_are_left():
    timetable = Timetable(until=float("inf"), laps=10)
    assert timetable.next() == 4.0  # never longer: the next setting is waiting

    spent = Timetable(until=0.0, laps=10, trip=0.2)
    assert spent.next() == pytest.approx(1.2)  # never so short that it sees no round trips


# --- real sources -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.img"
    with path.open("wb") as file:
        for _ in range(96):
            file.write(os.urandom(MiB) * 2)
    return path


def bench(document: Path, *arguments: object, prefix: tuple[str, ...] = ()) -> dict:
    command = [*prefix, *argv("bench", *arguments, "--json", document, "--progress", "none")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(document.read_text())
    assert f"limited by {found['limiter']['kind']}" in run.stdout
    assert found["command"] in run.stdout
    return found


@pytest.mark.parametrize(
    ("injected", "found"),
    [
        ({"latency_us": 160_000}, "source-latency"),
        ({"latency_us": 5_000, "window": "on"}, "window"),
        ({"latency_us": 5_000, "window": "on", "buf_size_64k": 16, "bandwidth": 40 * MiB}, "bandwidth"),
        ({"latency_us": 5_000, "bandwidth": 40 * MiB}, "bandwidth"),
        ({"latency_us": 5_000, "window": "on", "sessions": 2, "host": "host"}, "host"),
    ],
    ids=["latency", "window", "window and bandwidth", "bandwidth", "sessions"],
)
def test_the_limiter_that_is_reported_is_the_one_that_was_injected(tmp_path: Path, image, injected, found):
    require("nbdkit", "gcc", "make")
    if "host" in injected:
        injected = {**injected, "host": tmp_path / injected["host"]}

    with VddkDisk(tmp_path, image, **injected) as disk, disk.serve(threads=64) as uri:
        measured = bench(tmp_path / "bench.json", uri, "--seconds", 8, "--no-peers")

    assert measured["limiter"]["kind"] == found, measured
    assert measured["round_trip_s"] >= injected["latency_us"] / 1e6


def test_a_source_as_fast_as_memory_is_limited_by_the_cpu(tmp_path: Path):
    require("taskset")
    demand(None if SHARED_MEMORY.is_dir() else f"no {SHARED_MEMORY}")
    disk = SHARED_MEMORY / f"transferd-test-{os.getpid()}"
    try:
        disk.write_bytes(os.urandom(MiB) * 128)
        measured = bench(
            tmp_path / "bench.json", disk, "--seconds", 5, prefix=("taskset", "--cpu-list", one_cpu())
        )
    finally:
        disk.unlink(missing_ok=True)

    assert measured["limiter"]["kind"] == "cpu", measured


def one_cpu() -> str:
    return str(min(os.sched_getaffinity(0)))


def test_a_target_is_measured_without_a_trace_and_told_where_it_is_the_limit(tmp_path: Path, nbd_server):
    folder = tmp_path / "target"
    folder.mkdir()
    server = nbd_server("memory", "1G")
    fill = ["nbdcopy", "--", "-", server.uri]
    subprocess.run(fill, input=os.urandom(MiB) * 64, check=True, timeout=60)

    measured = bench(tmp_path / "bench.json", server.uri, "--seconds", 8, "--no-peers", "--target", folder)

    assert measured["target_goodput"] > 0
    fastest = max(point["goodput"] for point in measured["points"])
    assert (measured["limiter"]["kind"] == "target") == (measured["target_goodput"] < fastest)
    assert [*folder.iterdir()] == []


def test_peers_take_turns_on_the_same_source(tmp_path: Path, image):
    require("nbdkit", "nbdcopy", "qemu-img", "gcc", "make")

    with VddkDisk(tmp_path, image, latency_us=2_000, bandwidth=60 * MiB) as disk, disk.serve() as uri:
        measured = bench(tmp_path / "bench.json", uri, "--seconds", 12)

    assert set(measured["rounds"]) == {"transferd", "nbdcopy", "qemu-img"}
    for goodputs in measured["rounds"].values():
        assert all(0 < goodput < 120 * MiB for goodput in goodputs)
        assert goodputs


def test_a_block_that_cannot_be_read_costs_a_lap_and_is_told(tmp_path: Path, image):
    require("nbdkit", "gcc", "make")
    fault = f"at={4 * MiB},length=512,error=EIO,times=1"

    with (
        VddkDisk(tmp_path, image, latency_us=2000, bandwidth=200 * MiB, fault_read=fault) as disk,
        disk.serve() as uri,
    ):
        measured = bench(tmp_path / "bench.json", uri, "--seconds", 5, "--no-peers")

    failed = [point for point in measured["points"] if point["error"]]
    assert len(failed) == 1
    assert failed[0]["error"]["kind"] == "SourceError"
    assert len(measured["points"]) > 10


# --- a vSphere disk ---------------------------------------------------------------------------------------


@pytest.fixture
def vsphere(tmp_path: Path, image):
    require("nbdkit", "gcc", "make")
    vms = [VM("on", disks=[Disk(image)], powered_on=True)]
    settings = {"window": "on", "buf_size_64k": 1, "buf_count": 4}
    with VSphere(tmp_path, vms, latency_us=5_000, vddk=settings) as running:
        yield running
        wait_until(lambda: not our_nbdkits())
        assert running.snapshots("on") == []
        assert running.power_state("on") == "on"


def test_a_vm_s_disk_is_measured_through_a_snapshot_and_vddk_s_settings_are_advised(vsphere, tmp_path):
    where = ("--vcenter", vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml"), "--vm", "on", "--disk", 0)

    measured = bench(tmp_path / "bench.json", *where, "--seconds", 12)

    assert measured["limiter"]["kind"] == "window", measured
    assert measured["vddk_config"] == {nfc.SIZE: "16", nfc.COUNT: "4"}
    assert shlex.split(measured["command"])[2:8] == [*map(str, where)]
    assert all(measured["rounds"].values())


def test_the_advised_window_removes_the_limit(vsphere, tmp_path):
    link = {"host": tmp_path / "host", "bandwidth": 100 * MiB}  # shared by all sessions' nbdkits
    vsphere.vddk = {"window": "on", "buf_size_64k": 16, "buf_count": 4, **link}
    where = ("--vcenter", vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml"), "--vm", "on")

    measured = bench(tmp_path / "bench.json", *where, "--seconds", 6, "--no-peers")

    assert measured["limiter"]["kind"] == "bandwidth", measured


def test_a_signal_ends_it_and_the_snapshot_goes(vsphere, tmp_path):
    settings = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")

    with started("bench", "--vcenter", settings, "--vm", "on", "--seconds", 60) as run:
        wait_until(our_nbdkits)
        run.send_signal(signal.SIGTERM)
        done = ended(run, 20)

    refused(done, 8)


# --- what cannot be measured ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "SOURCE"),
        (["a", "--vm", "b"], "--vcenter"),
        (["--vcenter", "v.yaml"], "--vm"),
        (["nowhere.img"], "no such file"),
        (["a", "--seconds", "1"], "seconds"),
        (["a", "--target", "nowhere"], "--target"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(tmp_path: Path, arguments, word):
    refused(transferd("bench", *arguments, cwd=tmp_path), 2, word)


def test_an_empty_disk_says_nothing_about_throughput(tmp_path: Path):
    document = tmp_path / "bench.json"

    run = transferd("bench", dsl.write("----", tmp_path / "disk"), "--json", document)

    refused(run, 2, "no data")
    assert json.loads(document.read_text())["outcome"] == "failed"


def test_a_source_that_refuses_every_read_is_a_source_error(nbd_server, tmp_path: Path):
    disk = dsl.write("A" * 16, tmp_path / "disk")
    server = nbd_server("file", str(disk), "--filter=error", "error-pread=EIO", "error-pread-rate=100%")

    refused(transferd("bench", server.uri, "--seconds", 5), 4, "read")


def test_a_source_that_is_not_there_is_told_after_some_attempts(tmp_path: Path):
    refused(transferd("bench", f"nbd+unix:///?socket={tmp_path}/none", "--seconds", 5), 10, "connect")


def test_the_copy_path_does_not_load_the_bench():
    code = "import sys, transferd.__main__; print([m for m in sys.modules if 'throughput' in m])"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"
