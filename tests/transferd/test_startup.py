"""What a copy has loaded when it begins to read: only what a copy needs, because a fleet starts many."""

import json
import subprocess
import sys

import pytest

from tests import dsl
from tests.cli import wait_until
from tests.conftest import require
from tests.nbd import NbdServer

# Runs the command line; when its stdin ends, says what is loaded by then and is gone.
TELLER = """
import json, os, sys, threading

def tell():
    sys.stdin.read()
    os.write(1, json.dumps(sorted(sys.modules)).encode())
    os._exit(0)

threading.Thread(target=tell, daemon=True).start()
from transferd.__main__ import main
main()
"""
UNUSED = {
    "pyVmomi": "only where vSphere is spoken to",
    "kubernetes": "only the controller speaks to a cluster",
    "aiohttp": "nothing of a copy is HTTP",
    "prometheus_client": "only with --metrics",
    "rich": "only on a terminal, and for the table at the end",
    "yaml": "only for configuration files",
    "structlog": "only where there is a log",
    "zstandard": "only to convert",
    "guestfs": "only to convert",
    "hivex": "only to convert",
    "transferd.model": "only for the result, at the end",
    "transferd.outcome": "only for the result, at the end",
    "transferd.report": "only for the table, at the end",
    "transferd.page": "only with --report",
    "transferd.metrics": "only with --metrics",
    "transferd.vsphere": "only where vSphere is spoken to",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the modules in a copy whose source was asked for its first bytes, and is slow to answer."""
    require("nbdkit")
    folder = tmp_path_factory.mktemp("startup")
    log, source = folder / "log", dsl.write("ABCDEFGH", folder / "source")
    serving = ["--filter=log", "--filter=delay", "file", str(source), f"logfile={log}", "rdelay=3600"]
    with NbdServer(folder, *serving) as server:
        command = [sys.executable, "-c", TELLER, "copy", server.uri, str(folder / "target")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
            wait_until(lambda: run.poll() is not None or " Read id=" in log.read_text())
            told, _ = run.communicate("", timeout=20)
    return set(json.loads(told))


@pytest.mark.parametrize(("library", "reason"), UNUSED.items(), ids=UNUSED)
def test_a_copy_begins_to_read_without(loaded, library, reason):
    assert [name for name in loaded if f"{name}.".startswith(f"{library}.")] == [], reason


def test_a_copy_has_what_it_needs(loaded):
    assert {"nbd", "blake3", "transferd.engine", "transferd.journal"} <= loaded
