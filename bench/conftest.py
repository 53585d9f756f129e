"""Host facts beside every stored result, and nothing that names the host."""

import os
import platform
from pathlib import Path

import pytest


@pytest.hookimpl
def pytest_benchmark_update_machine_info(machine_info):
    for name in ("node", "python_build", "python_compiler"):
        machine_info.pop(name, None)
    memory = Path("/proc/meminfo").read_text().split("\n", 1)[0].split()
    machine_info["cpus"] = len(os.sched_getaffinity(0))
    machine_info["memory_kib"] = int(memory[1])
    machine_info["kernel"] = platform.release()
