"""What a Prometheus server sees of running copies, asked over HTTP as it asks."""

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import dsl
from tests.cli import ended, started, wait_until
from transferd.errors import UsageError
from transferd.metrics import Metrics
from transferd.stats import Sample, Stats
from transferd.units import MiB

Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(address: str) -> Found:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Found, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@contextmanager
def served(**disks: Stats) -> Iterator[str]:
    metrics = Metrics()
    for label, stats in disks.items():
        metrics.watch(label, stats, lambda stats=stats: replace(stats.sample(), depth=16, sessions=2))
    with metrics.serve("0") as address:
        yield address


def test_bytes_and_counts_are_told_for_each_disk():
    one, two = Stats(), Stats()
    one.add(read=5 * MiB, written=3 * MiB, zero=2 * MiB, retries=4, reconnects=1, in_flight=MiB)
    two.add(read=7, overloads=2, healed=1)

    with served(one=one, two=two) as address:
        found = scrape(address)

    assert value(found, "transferd_bytes_total", disk="one", kind="read") == 5 * MiB
    assert value(found, "transferd_bytes_total", disk="one", kind="written") == 3 * MiB
    assert value(found, "transferd_bytes_total", disk="one", kind="zero") == 2 * MiB
    assert value(found, "transferd_bytes_total", disk="two", kind="read") == 7
    assert value(found, "transferd_retries_total", disk="one") == 4
    assert value(found, "transferd_reconnects_total", disk="one") == 1
    assert value(found, "transferd_overloads_total", disk="two") == 2
    assert value(found, "transferd_healed_total", disk="two") == 1
    assert value(found, "transferd_in_flight_bytes", disk="one") == MiB
    assert value(found, "transferd_depth", disk="one") == 16
    assert value(found, "transferd_sessions", disk="two") == 2


def test_every_number_of_a_sample_is_told():
    fields = {name: number for number, name in enumerate(Sample.__slots__, 1000) if name != "at"}
    metrics = Metrics()
    metrics.watch("disk", Stats(), lambda: Sample(**fields))

    with metrics.serve("0") as address:
        told = set(scrape(address).values())

    assert set(fields.values()) <= told


def test_each_scrape_is_of_that_moment():
    stats = Stats()
    with served(disk=stats) as address:
        before = scrape(address)
        stats.add(read=MiB)
        after = scrape(address)

    assert value(before, "transferd_bytes_total", disk="disk", kind="read") == 0
    assert value(after, "transferd_bytes_total", disk="disk", kind="read") == MiB


def test_latencies_are_a_cumulative_histogram_with_a_bucket_a_doubling():
    stats = Stats()
    for seconds in (1e-6, 0.001, 0.001, 0.005, 3.0, 7200.0):
        stats.took("read", seconds)
    with served(disk=stats) as address:
        found = scrape(address)
    bucket = "transferd_operation_seconds_bucket"
    bounds = sorted(
        (float(dict(labels)["le"]), count)
        for (name, labels), count in found.items()
        if name == bucket and ("operation", "read") in labels
    )

    assert [count for _, count in bounds] == sorted(count for _, count in bounds)
    assert all(
        after == pytest.approx(2 * before, rel=1e-3) for (before, _), (after, _) in pairwise(bounds[:-1])
    )
    assert {count for bound, count in bounds if bound < 0.001} == {1}
    assert {count for bound, count in bounds if 0.0011 < bound < 0.005} == {3}
    assert {count for bound, count in bounds if 4 < bound < 7000} == {5}
    assert bounds[-1] == (float("inf"), 6)
    assert value(found, "transferd_operation_seconds_count", disk="disk", operation="read") == 6
    assert value(found, "transferd_operation_seconds_sum", disk="disk", operation="read") == pytest.approx(
        7203.007
    )
    assert value(found, "transferd_operation_seconds_count", disk="disk", operation="verify") == 0


def test_memory_and_cpu_of_the_process_are_told():
    with served() as address:
        found = scrape(address)

    assert value(found, "process_resident_memory_bytes") > MiB
    assert value(found, "process_cpu_seconds_total") > 0


def test_a_disk_that_is_copied_again_is_told_once():
    metrics = Metrics()
    for read in (1, 2):
        stats = Stats()
        stats.add(read=read)
        metrics.watch("disk", stats, stats.sample)
    with metrics.serve("0") as address:
        assert value(scrape(address), "transferd_bytes_total", disk="disk", kind="read") == 2


def test_a_hostile_name_stays_a_name():
    with served(**{'x"} 1\nevil_total 7\\\x1b\ud800': Stats()}) as address:
        found = scrape(address)
    disks = {dict(labels)["disk"] for _, labels in found if "disk" in dict(labels)}

    assert disks == {r'x"} 1\nevil_total 7\\x1b\ud800'}
    assert not [name for name, _ in found if name.startswith("evil")]


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz", "/favicon.ico"])
def test_there_is_nothing_but_metrics(path):
    with served() as address:
        asked = http.client.HTTPConnection(address, timeout=10)
        asked.request("GET", path)
        status = asked.getresponse().status
        asked.close()

    assert status == 404


def test_without_a_host_only_this_machine_is_answered():
    with served() as address:
        assert address.startswith("127.0.0.1:")


@pytest.mark.parametrize("address", ["localhost:0", "[::1]:0", "0.0.0.0:0"])
def test_another_address_must_be_asked_for(address):
    with Metrics().serve(address) as real:
        port = real.rpartition(":")[2]
        host = "[::1]" if "::1" in real else "127.0.0.1"

        assert int(port) > 0
        assert value(scrape(f"{host}:{port}"), "process_cpu_seconds_total") > 0


def test_a_client_that_says_nothing_holds_nobody_up():
    with served() as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))):
            assert scrape(address)


def test_a_client_that_speaks_no_http_leaves_no_traceback(capfd):
    with served() as address:
        host, _, port = address.partition(":")
        for words in (b"\x16\x03\x01\x00\xa5", b"GET /metrics HTTP/1.1\r\nAccept: a;version=x,\xff\r\n\r\n"):
            with socket.create_connection((host, int(port)), timeout=10) as client:
                client.sendall(words)
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 16):
                    pass
        assert scrape(address)

    assert capfd.readouterr() == ("", "")


def test_afterwards_the_port_is_free():
    with served() as address:
        pass

    with Metrics().serve(address) as again:
        assert again == address


def test_a_taken_port_is_a_usage_error_that_names_it():
    with served() as address, pytest.raises(UsageError, match=f"--metrics {address}: Address already in use"):
        Metrics().serve(address).__enter__()


@pytest.mark.parametrize(
    "address",
    ["", "x", ":9090", "1:2:x", "-1", "65536", "9" * 5000, "localhost:", "\u0663", "a..b:1", "192.0.2.1:0"],
)
def test_what_is_no_address_is_a_usage_error(address):
    with pytest.raises(UsageError, match="--metrics"):
        Metrics().serve(address).__enter__()


def test_a_copy_tells_how_it_goes_while_it_runs(tmp_path: Path):
    source = dsl.write("ABCDEFGH" * 8, tmp_path / "source")
    options = ["--metrics", "0", "--bandwidth", "16MiB", "--progress", "plain"]
    with started("copy", source, tmp_path / "target", *options) as run:
        address = run.stderr.readline().split("//")[1].removesuffix("/metrics\n")
        wait_until(lambda: scrape(address).get(("transferd_sessions", frozenset({("disk", "disk")}))) == 1)
        found = scrape(address)
        run.terminate()
        stopped = ended(run)

    assert value(found, "transferd_bytes_total", disk="disk", kind="read") < 64 * MiB
    assert stopped.returncode == 8
