"""What the converter's tests need of the machine. Missing: a skip with the reason, a failure in CI."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

from tests.guests import debian12


def demand(obstacle: str | None) -> None:
    if obstacle and "CI" in os.environ:
        pytest.fail(obstacle)
    if obstacle:
        pytest.skip(obstacle)


@pytest.fixture(scope="session")
def qemu_tools():
    missing = [tool for tool in ("qemu-img", "qemu-io") if not shutil.which(tool)]
    demand(f"{', '.join(missing)} not installed (qemu-utils)" if missing else None)


@pytest.fixture(scope="session")
def appliance(qemu_tools):
    demand(None if importlib.util.find_spec("guestfs") else "python3-guestfs is not installed")


@pytest.fixture(scope="session")
def debian(appliance):
    demand(debian12.unavailable())
    return debian12.build()
