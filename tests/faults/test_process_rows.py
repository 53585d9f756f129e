"""Rows F47 to F58 of the fault matrix: what befalls the process, and what it leaves behind.

F48, kill -9 at every moment, is a sweep of its own: tests/torture.
"""

import asyncio
import filecmp
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests import dsl
from tests.cli import DEADLINE, argv, ended, refused, started, transferd, wait_until
from tests.conftest import require
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.line import NAME, Job
from tests.nbd import our_nbdkits
from transferd import nbdkit
from transferd.limits import Limits
from transferd.plan import BLOCK
from transferd.privacy import without
from transferd.resume import SPOT_CHECKS
from transferd.units import GiB, MiB

DISK = "ABCD-EFG0HIJ" * 2  # six blocks, each with data
GRACE = 10.0  # s between SIGTERM and the end
ONE_BY_ONE = ("--connections", 1, "--queue-depth", 1, "--request-size", "512KiB")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "source", tail=3 * 512)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def slow(nbd_server, source: Path) -> str:
    """The URI of a server that takes some two seconds for the disk, one read at a time."""
    return nbd_server("--filter=delay", "file", str(source), "rdelay=50ms").uri


@pytest.fixture
def goes_on(source: Path, target: Path, tmp_path: Path) -> Callable[..., dict]:
    """Judge the same command run again, undisturbed: the disk is on the target; its result is returned."""

    def judged(*arguments: object) -> dict:
        result = tmp_path / "result.json"
        run = transferd("copy", *arguments, target, "--result", result)
        assert run.returncode == 0, run.stderr
        assert source.read_bytes() == target.read_bytes()
        return json.loads(result.read_text())["disks"][0]

    return judged


def holds(target: Path, count: int) -> bool:
    return target.exists() and target.stat().st_blocks * 512 >= count


def within(prefix: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """transferd, started by another program that limits or disturbs it."""
    command = [*prefix, *argv(*arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_f48_a_kill_costs_no_more_than_256_mib_and_what_was_in_flight(tmp_path, target):
    source, result = tmp_path / "large", tmp_path / "result.json"
    with source.open("wb") as disk:
        for number in range(1024):
            disk.write(number.to_bytes(2, "big").replace(b"\0", b"\xff") * (MiB // 2))
    with started("copy", source, target) as run:
        wait_until(lambda: holds(target, 600 * MiB))
        run.kill()
    held = target.stat().st_blocks * 512
    again = transferd("copy", source, target, "--result", result)
    disk = json.loads(result.read_text())["disks"][0]
    known = disk["resumed_blocks"] * BLOCK

    assert again.returncode == 0, again.stderr
    assert filecmp.cmp(source, target, shallow=False)
    assert held - known <= 256 * MiB + Limits().slots * BLOCK
    assert disk["read_bytes"] <= GiB - known + (SPOT_CHECKS + 1) * BLOCK


# --- ended from outside ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_f47_a_signal_ends_the_copy_in_time_and_keeps_what_was_received(slow, target, goes_on, number):
    with started("copy", slow, target, *ONE_BY_ONE) as run:
        wait_until(lambda: holds(target, 2 * BLOCK))
        run.send_signal(number)
        done = ended(run, GRACE)

    refused(done, 8, "signal", "run the same command again")
    assert goes_on(slow)["resumed_blocks"] >= 2


def test_f47_a_signal_is_heard_while_the_server_hangs(nbd_server, source: Path, target: Path, goes_on):
    server = nbd_server("--filter=delay", "file", str(source), "rdelay=50ms")
    with started("copy", server.uri, target, *ONE_BY_ONE) as run:
        wait_until(lambda: holds(target, 2 * BLOCK))
        server.process.send_signal(signal.SIGSTOP)
        run.send_signal(signal.SIGTERM)
        done = ended(run, GRACE)
    server.process.send_signal(signal.SIGCONT)

    refused(done, 8, "signal")
    assert goes_on(server.uri)["resumed_blocks"] >= 2


def test_f47_a_signal_is_heard_before_there_is_a_server(tmp_path: Path, target: Path):
    with started("copy", f"nbd+unix:///?socket={tmp_path / 'nobody'}", target) as run:
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(1.5)  # it tries to connect for longer
        run.send_signal(signal.SIGTERM)
        done = ended(run, GRACE)

    refused(done, 8, "signal")


ENTER_GROUP = (
    "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.fixture
def short_of_memory() -> Iterator[list[str]]:
    """Arguments that run a program in a group of 64 MiB: the kernel kills what needs more."""
    group = Path("/sys/fs/cgroup/memory") / f"transferd-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(64 * MiB))
    except OSError as error:
        pytest.skip(f"no memory group can be made here: {error}")
    yield [sys.executable, "-c", ENTER_GROUP, str(group / "cgroup.procs")]
    group.rmdir()


def test_f49_a_copy_that_the_kernel_killed_for_its_memory_goes_on(short_of_memory, source, target, goes_on):
    dsl.write("ABCDEFGH" * 8, source)  # more than the copy's buffers hold
    for _ in range(2):
        assert within(short_of_memory, "copy", source, target).returncode == -signal.SIGKILL
        assert target.exists()

    goes_on(source)


# --- no room for the journal -----------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A tmpfs with these mount options, for the journal alone."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        mounted.append(folder)
        return folder

    yield mount
    for each in mounted:
        subprocess.run(["umount", each], check=True)


def test_f55_a_journal_on_a_full_volume_is_refused_before_the_copy(volume, source, target, goes_on):
    folder = volume("size=4k")
    (folder / "filler").write_bytes(bytes(4096))
    journal = ("--journal", folder / "journal")

    refused(transferd("copy", source, target, *journal), 5, str(folder), "No space left", "--journal")
    (folder / "filler").unlink()
    goes_on(source, *journal)


def test_f55_a_journal_on_a_read_only_volume_is_refused_before_the_copy(volume, source, target):
    journal = ("--journal", volume("ro") / "journal")

    refused(transferd("copy", source, target, *journal), 5, "Read-only file system", "--journal")
    assert not holds(target, 1)


def failing(path: Path, calls: str, error: str, number: int) -> list[str]:
    """Arguments that run a program in which each thread's calls on this file fail, from the n-th on."""
    require("strace")
    path.touch()  # strace follows what exists
    chosen = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={number}+"]
    return ["strace", "-f", "-qqq", "-o", "/dev/null", "-P", str(path), *chosen]


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(
    ("begun", "record", "resumed"),
    [(False, 1, 0), (True, 1, 0), (False, 2, 7)],
    ids=["its header", "its blocks", "its seal"],
)
def test_f55_a_journal_that_cannot_be_written_ends_the_copy_and_says_no_more_than_is_true(
    source, target, goes_on, tmp_path: Path, begun, record, resumed, error
):
    journal = tmp_path / "journal"
    command = ("copy", source, target, "--journal", journal)
    if begun:  # with a header, and no block
        full = failing(target, "pwritev,pwritev2", "ENOSPC", 1)
        refused(within(full, *command), 5, "No space left", "write at offset")

    run = within(failing(journal, "write", error, record), *command)

    refused(run, 5, str(journal), "write journal", "--journal")
    assert goes_on(source, "--journal", journal)["resumed_blocks"] == resumed


# --- nothing to work with --------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [8, 10, 12, 13, 14, 15, 16, 17, 18])
def test_f56_too_few_open_files_are_named_and_nothing_is_lost(source, target, goes_on, most):
    run = within(["prlimit", f"--nofile={most}"], "copy", source, target, "--progress", "none")

    if run.returncode != 0:
        refused(run, 2, "open files", "ulimit -n")
    goes_on(source)


@pytest.mark.parametrize("first", [1, 2, 4, 8])
def test_f56_threads_that_cannot_be_started_are_named_and_nothing_is_lost(source, target, goes_on, first):
    require("strace")
    failing = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=clone3,clone",
               "-e", f"inject=clone3,clone:error=EAGAIN:when={first}+"]  # fmt: skip
    run = within(failing, "copy", source, target, "--progress", "none")

    if run.returncode != 0:
        refused(run, 2, "threads", "raise")
    goes_on(source)


@pytest.fixture
def vsphere(source: Path, tmp_path: Path) -> Iterator[VSphere]:
    """A vCenter whose VM has the disk, slow enough to be caught in the middle of it."""
    require("nbdkit", "gcc", "make")
    with VSphere(tmp_path, [VM(NAME, disks=[Disk(source)])], latency_us=300_000) as running:
        yield running
    wait_until(lambda: not our_nbdkits())


def test_f56_without_nbdkit_the_command_says_so_before_it_touches_anything(vsphere, target, tmp_path: Path):
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")
    run = within(["env", f"PATH={tmp_path}"], "copy", "--vcenter", path, "--vm", NAME, target)

    refused(run, 2, "nbdkit is not installed", "setup.sh")
    assert not target.exists()


# --- children --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [False, True], ids=["starting", "reading"])
def test_f57_no_nbdkit_outlives_a_migration_that_was_killed(vsphere, tmp_path: Path, reading):
    job = Job(tmp_path / "job").write(vsphere, convert="none", manifest=None)
    with started("migrate", job.spec) as run:
        wait_until(our_nbdkits)
        if reading:
            wait_until(lambda: holds(job.targets[0], MiB))
        run.kill()
        ended(run)

    wait_until(lambda: not our_nbdkits(), 5)


FLOODS = {
    "lines": b"nbdkit: vddk[1]: debug: " + b"x" * 80 + b"\n",
    "one endless line": b"x" * 100,
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_f58_a_flood_of_logs_neither_blocks_nbdkit_nor_fills_the_memory(tmp_path: Path, kind):
    """100 MB on stderr in place of nbdkit's: VDDK at its most talkative. Its last words are kept."""
    flood = f"import os\nfor _ in range(1600):\n os.write(2, {FLOODS[kind]!r} * {65536 // len(FLOODS[kind])})"
    flood += "\nos.write(2, b'\\nnbdkit: error: VixDiskLib_Open: Cannot connect to host\\n')"
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))  # as `logs` without --debug
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", flood, stderr=asyncio.subprocess.PIPE
        )
        server = nbdkit.Server(child, str(tmp_path), tmp_path / "socket", "Hard disk 1", without("a secret"))
        async with asyncio.timeout(DEADLINE):
            assert await child.wait() == 0
            await server._listener
    finally:
        structlog.reset_defaults()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

    assert grown < 50 * MiB
    assert "Cannot connect" in server.last_words()
    assert "port 902" in str(server.explain())
