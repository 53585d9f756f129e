"""The proxy on its own: each fault happens where it was asked for and nowhere else; nbdkit survives it."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import nbd
import pytest

from tests.faults.proxy import BlackHole, Close, Delay, Fault, Flip, Proxy, Reset, Resize, Swallow
from tests.nbd import NbdServer
from transferd.units import MiB

SIZE = 4 * MiB
STEP = MiB // 4


@pytest.fixture
def disk() -> bytes:
    return random.Random(8).randbytes(SIZE)


@pytest.fixture
def server(disk: bytes, nbd_server, tmp_path: Path) -> NbdServer:
    (tmp_path / "disk").write_bytes(disk)
    return nbd_server("file", str(tmp_path / "disk"))


@pytest.fixture(params=["unix", "tcp"])
def proxied(request, server: NbdServer, tmp_path: Path) -> Callable[..., Proxy]:
    folder = tmp_path if request.param == "unix" else None
    return lambda *scripts: Proxy(server.socket, *scripts, folder=folder)


def connected(proxy: Proxy) -> nbd.NBD:
    handle = nbd.NBD()
    handle.add_meta_context("base:allocation")
    handle.connect_uri(proxy.uri)
    return handle


def read(proxy: Proxy) -> bytes:
    """The whole disk through one new connection."""
    handle = connected(proxy)
    found = b"".join(bytes(handle.pread(STEP, start)) for start in range(0, SIZE, STEP))
    handle.shutdown()
    return found


def test_without_a_script_the_disk_comes_through_unchanged(proxied, disk: bytes):
    with proxied() as proxy:
        assert read(proxy) == disk


@pytest.mark.parametrize("fault", [Reset, Close], ids=lambda fault: fault.__name__.lower())
@pytest.mark.parametrize("after", [0, 60, STEP // 2, 2 * MiB + 1])
def test_a_cut_ends_the_first_connection_alone(proxied, disk: bytes, server, fault, after: int):
    with proxied([fault(after)]) as proxy:
        with pytest.raises(nbd.Error):
            read(proxy)

        assert read(proxy) == disk
        assert after <= proxy.links[0].passed <= after + STEP + 64
    assert server.process.poll() is None


def test_a_reset_is_told_from_a_close_by_its_errno(proxied):
    with proxied([Reset(after=MiB)]) as proxy, pytest.raises(nbd.Error) as reset:
        read(proxy)

    assert reset.value.errno in {"ECONNRESET", "EPIPE"}


def test_a_black_hole_is_silent_until_the_client_gives_up(proxied):
    with proxied([BlackHole(after=MiB)]) as proxy:
        handle = connected(proxy)
        for start in range(0, MiB // 2, STEP):
            handle.pread(STEP, start)
        buffer = nbd.Buffer(MiB)
        handle.aio_pread(buffer, 0)

        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            handle.poll(50)
        assert handle.aio_in_flight() == 1
        assert proxy.held_by_client() == 1

        del handle
        until = time.monotonic() + 5
        while proxy.held_by_client() and time.monotonic() < until:
            time.sleep(0.01)
        assert proxy.held_by_client() == 0


def test_a_proxy_closes_although_a_black_hole_is_held(proxied):
    with proxied([BlackHole(after=0)]) as proxy:
        handle = nbd.NBD()
        handle.aio_connect_uri(proxy.uri)
        handle.poll(100)
    assert handle.aio_is_connecting() or handle.aio_is_dead()


def test_a_delay_holds_the_stream_once(proxied, disk: bytes):
    with proxied([Delay(after=MiB, seconds=0.4)]) as proxy:
        began = time.monotonic()
        assert read(proxy) == disk
        assert 0.4 <= time.monotonic() - began < 2


def test_a_flip_changes_one_bit_of_one_read(proxied, disk: bytes):
    at = 2 * MiB + 12345
    with proxied([Flip(at, mask=0x10)]) as proxy:
        handle = connected(proxy)
        first, again = (bytes(handle.pread(STEP, at // STEP * STEP)) for _ in range(2))

    clean = disk[at // STEP * STEP :][:STEP]
    assert [i for i in range(STEP) if first[i] != clean[i]] == [at % STEP]
    assert first[at % STEP] == clean[at % STEP] ^ 0x10
    assert again == clean


def test_a_resize_lies_on_its_own_connection_alone(proxied):
    with proxied([], [Resize(SIZE + 512)]) as proxy:
        assert [connected(proxy).get_size() for _ in range(3)] == [SIZE, SIZE + 512, SIZE]


def test_a_swallowed_reply_never_comes_and_the_others_do(proxied, disk: bytes):
    with proxied([Swallow(nth=2)]) as proxy:
        handle = connected(proxy)
        buffers = [nbd.Buffer(STEP) for _ in range(4)]
        for number, buffer in enumerate(buffers):
            handle.aio_pread(buffer, number * STEP)
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            handle.poll(50)

        whole = [bytes(buffer.to_bytearray()) for buffer in buffers]
        assert handle.aio_in_flight() == 1
        assert sum(part == disk[n * STEP :][:STEP] for n, part in enumerate(whole)) >= 3


def test_faults_of_one_script_strike_in_the_order_of_their_bytes(proxied):
    script: list[Fault] = [Close(after=3 * MiB), Delay(after=MiB, seconds=0.2), Flip(0)]
    with proxied(script) as proxy:
        began = time.monotonic()
        with pytest.raises(nbd.Error):
            read(proxy)
        assert time.monotonic() - began > 0.2


def test_a_server_that_is_gone_is_a_closed_connection(proxied, server: NbdServer):
    server.kill()
    with proxied() as proxy, pytest.raises(nbd.Error):
        connected(proxy)
