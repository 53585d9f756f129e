"""Prometheus metrics of running copies: `--metrics [HOST:]PORT`.

Nothing is counted here. A scrape asks every copy for its `Sample` and its histograms at that moment, so a
copy that nobody scrapes pays nothing. This module alone imports prometheus_client, and only a command that
was asked for metrics imports this module.

The server answers `GET /metrics` and nothing else, to this machine unless another address was asked for:
it has no authentication, and the names of disks are in what it tells.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from transferd.errors import UsageError, printable
from transferd.stats import FINENESS, OPERATIONS, Histogram, Sample, Stats, upper

LOOPBACK = "127.0.0.1"
KINDS = ("settled", "read", "written", "zero", "skipped", "verified", "durable", "audited")
COUNTERS = {
    "retries": "Reads that were asked again",
    "reconnects": "Sessions that were lost or hung and opened anew",
    "overloads": "Reads that the source had no memory for",
    "healed": "Blocks that differed when read back and agreed after being copied again",
}
GAUGES = {
    "in_flight_bytes": ("in_flight", "Bytes of the reads that are not answered yet"),
    "depth": ("depth", "Reads that may be in flight"),
    "sessions": ("sessions", "Sessions with the source"),
}
DOUBLINGS = range(6, 28)  # of 1 us: buckets from 64 us to 134 s; a disk has few time series, not 144
SLOWEST_CLIENT = 10.0  # s that a request may take to arrive
POLL = 0.1  # s; what closing the server may cost at the end of a copy


@dataclass(frozen=True, slots=True)
class Watched:
    """A copy, or a part of one, that can be asked how it goes."""

    stats: Stats
    sample: Callable[[], Sample]


class Metrics(Collector):
    """What is known of the copies of this process. Safe to use from any thread."""

    def __init__(self) -> None:
        self._copies: dict[str, Watched] = {}

    def watch(self, label: str, stats: Stats, sample: Callable[[], Sample]) -> None:
        """From now on tell of this copy as disk `label`; an earlier one of that name is forgotten."""
        self._copies[printable(label)] = Watched(stats, sample)

    def collect(self) -> Iterator[Metric]:
        copies = self._copies.copy()
        samples = {label: copy.sample() for label, copy in copies.items()}
        yield from _counted(samples)
        yield from _gauged(samples)
        yield _timed({label: copy.stats for label, copy in copies.items()})

    @contextmanager
    def serve(self, address: str) -> Iterator[str]:
        """Answer scrapes at `[HOST:]PORT`; gives the address with its real port. UsageError: impossible."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(self)
        with _listening(address, registry) as server:
            host, port = server.socket.getsockname()[:2]
            thread = threading.Thread(target=server.serve_forever, args=(POLL,), name="metrics", daemon=True)
            thread.start()
            try:
                yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            finally:
                server.shutdown()


def _counted(samples: dict[str, Sample]) -> Iterator[Metric]:
    moved = CounterMetricFamily(
        "transferd_bytes", "Bytes of the disk that were settled, read, ...", labels=["disk", "kind"]
    )
    for label, sample in samples.items():
        for kind in KINDS:
            moved.add_metric([label, kind], getattr(sample, kind))
    yield moved
    for name, words in COUNTERS.items():
        family = CounterMetricFamily(f"transferd_{name}", words, labels=["disk"])
        for label, sample in samples.items():
            family.add_metric([label], getattr(sample, name))
        yield family


def _gauged(samples: dict[str, Sample]) -> Iterator[Metric]:
    for name, (of, words) in GAUGES.items():
        family = GaugeMetricFamily(f"transferd_{name}", words, labels=["disk"])
        for label, sample in samples.items():
            family.add_metric([label], getattr(sample, of))
        yield family


def _timed(copies: dict[str, Stats]) -> Metric:
    family = HistogramMetricFamily(
        "transferd_operation_seconds", "How long an operation took", labels=["disk", "operation"]
    )
    for label, stats in copies.items():
        for operation in OPERATIONS:
            histogram = stats.histogram(operation)
            family.add_metric([label, operation], buckets(histogram), histogram.total)
    return family


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """(upper bound, operations up to it): a bucket a doubling, of the histogram's finer ones."""
    bounds = [FINENESS * doubling for doubling in DOUBLINGS]
    found = [(f"{upper(bound - 1):g}", float(sum(histogram.counts[:bound]))) for bound in bounds]
    return [*found, ("+Inf", float(histogram.count))]


# --- the server ------------------------------------------------------------------------------------------


class _Server(ThreadingTCPServer):
    """http.server's own asks the resolver for this machine's name before it listens; this one does not."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, place: Any, registry: CollectorRegistry) -> None:
        self.address_family = family
        self.registry = registry
        super().__init__(place, _Scrape)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or sent no HTTP is its own affair: no traceback among the progress."""


class _Scrape(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOWEST_CLIENT

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, explain="only /metrics is here")
            return
        encode, kind = choose_encoder(self.headers.get("Accept", ""))
        body = encode(self.server.registry)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        """Scrapes are not part of a copy's output."""


def _listening(address: str, registry: CollectorRegistry) -> _Server:
    host, colon, port = address.rpartition(":")
    if re.fullmatch("[0-9]{1,5}", port) is None or int(port) >= 1 << 16 or (colon and not host):
        raise UsageError(
            f"--metrics {address}: not [HOST:]PORT",
            remedy="for example --metrics 9090, or --metrics 0.0.0.0:9090 to be scraped from elsewhere",
        )
    bare = host.removeprefix("[").removesuffix("]") or LOOPBACK
    try:
        family, _, _, _, place = socket.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM)[0]
        return _Server(family, place, registry)
    except (OSError, UnicodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "no host has such a name"
        raise UsageError(
            f"--metrics {address}: {problem}",
            remedy="name a free port of this machine, or 0 for any",
        ) from error
