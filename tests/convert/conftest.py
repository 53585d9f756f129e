"""What the converter's tests need of the machine. Missing: a skip with the reason, a failure in CI."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

from tests.conftest import demand


def qemu_tools_missing() -> str | None:
    missing = [tool for tool in ("qemu-img", "qemu-io") if not shutil.which(tool)]
    return f"{', '.join(missing)} not installed (qemu-utils)" if missing else None


def appliance_missing() -> str | None:
    found = importlib.util.find_spec("guestfs")
    return qemu_tools_missing() or (None if found else "python3-guestfs is not installed")


@pytest.fixture(scope="session")
def qemu_tools():
    demand(qemu_tools_missing())


@pytest.fixture(scope="session")
def appliance():
    demand(appliance_missing())


@pytest.fixture(scope="session")
def debian(appliance, guest):  # noqa: ARG001 (the guest is of no use without an appliance)
    return guest
