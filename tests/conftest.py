"""Fixtures that every suite shares, and the rule about missing tools: a skip here, a failure in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guests import debian12
from tests.nbd import NbdServer
from tests.torture.seed import TODAY


def pytest_report_header() -> str:
    return f"first seed of the sweeps' samples: {TODAY}"


def demand(obstacle: str | None) -> None:
    """Skip the test for this reason; fail it in CI, where nothing may be missing."""
    if obstacle and "CI" in os.environ:
        pytest.fail(obstacle)
    if obstacle:
        pytest.skip(f"{obstacle}; run images/dev/setup.sh")


def require(*tools: str) -> None:
    """Demand that these commands are installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    demand(f"not installed: {', '.join(missing)}" if missing else None)


@pytest.fixture(scope="session")
def guest() -> debian12.Guest:
    """The real Debian 12, made for VMware's hardware. Never write to its disks: clone it."""
    demand(debian12.unavailable())
    return debian12.build()


@pytest.fixture
def nbd_server(tmp_path: Path) -> Iterator[Callable[..., NbdServer]]:
    """Start an nbdkit with these arguments; it ends with the test."""
    require("nbdkit")
    servers: list[NbdServer] = []

    def start(*arguments: str) -> NbdServer:
        folder = tmp_path / f"nbd{len(servers)}"
        folder.mkdir()
        servers.append(NbdServer(folder, *arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A block device of so many bytes, filled with 0xA5: what a reused volume looks like."""
    require("losetup")
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    devices: list[str] = []

    def make(size: int) -> Path:
        backing = tmp_path / f"loop{len(devices)}.img"
        backing.write_bytes(b"\xa5" * size)
        made = subprocess.run(
            ["losetup", "--find", "--show", str(backing)], check=True, capture_output=True, text=True
        )
        devices.append(made.stdout.strip())
        return Path(devices[-1])

    yield make
    for device in devices:
        subprocess.run(["losetup", "--detach", device], check=True)
