"""What a stored result holds beside its figures: the host's facts, and nothing that names the host."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import race
from bench.disks import REDUCED
from tests.conftest import require

PEERS = tuple([tool, "--version"] for tool in ("nbdkit", "nbdcopy", "qemu-img", "virt-v2v"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A run of reduced size is not stored."""
    if REDUCED in os.environ:
        config.option.benchmark_save = None
        config.option.benchmark_autosave = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=race.STOPWATCH))


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    for name in ("node", "python_build", "python_compiler"):
        machine_info.pop(name, None)
    machine_info["cpu"].pop("flags", None)
    memory = Path("/proc/meminfo").read_text().split("\n", 1)[0].split()
    machine_info["cpus"] = len(os.sched_getaffinity(0))
    machine_info["memory_kib"] = int(memory[1])
    machine_info["kernel"] = platform.release()
    machine_info["tools"] = [version(command) for command in PEERS]


def version(command: list[str]) -> str:
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return re.split(r"[(\n]", said, maxsplit=1)[0].strip()


def pytest_benchmark_update_commit_info(commit_info: dict[str, Any]) -> None:
    """A folder and a branch are the machine's, not the result's."""
    for name in ("project", "branch"):
        commit_info.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    require("nbdkit", "nbdcopy", "qemu-img")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A suite's own place for its source disks, emptied when the suite ends: they are large."""
    place = tmp_path_factory.mktemp("bench")
    yield place
    for path in place.iterdir():
        if path.is_file():
            path.unlink()
