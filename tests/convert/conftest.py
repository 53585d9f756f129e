"""What the converter's tests need of the machine. Missing: a skip with the reason, a failure in CI."""

from __future__ import annotations

import importlib.util

import pytest

from tests.conftest import demand, require
from tests.convert import hostile_guest


@pytest.fixture(scope="session")
def qemu_tools():
    require("qemu-img", "qemu-io")


@pytest.fixture(scope="session")
def appliance(qemu_tools):  # noqa: ARG001 (an appliance works on overlays)
    demand(None if importlib.util.find_spec("guestfs") else "python3-guestfs is not installed")


@pytest.fixture(scope="session")
def debian(appliance, guest):  # noqa: ARG001 (the guest is of no use without an appliance)
    return guest


@pytest.fixture(scope="session")
def moved(appliance, tmp_path_factory):  # noqa: ARG001 (it converts)
    """A guest that an enemy has made, converted once under watch."""
    require("strace")
    return hostile_guest.convert(tmp_path_factory.mktemp("moved"))
