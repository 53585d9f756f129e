"""Rows F31 to F46 of the fault matrix: what storage can do to a copy.

The storage is real (tmpfs, loop devices, FUSE) and fails by the kernel's own means or at a system call that
strace answers in its place. Every test ends in the bytes of the target, an exit code and the result document.
What needs a kernel of its own, power loss above all, is in `machine`.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import DEADLINE, argv, ended, peak_memory, refused, started, transferd, wait_until
from tests.conftest import demand, require
from transferd.plan import BLOCK
from transferd.units import MiB

try:
    from tests.faults.lossy_fs import Faults, LossyFs
except ModuleNotFoundError:  # mfusepy: the fixture below says so
    LossyFs = None

DISK = "ABCD-EFG0HIJ"  # three blocks, each with data
TAIL = 3 * 512
PAGE = 4096
ONE_BY_ONE = ("--connections", 1, "--queue-depth", 1, "--request-size", "512KiB")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "source", tail=TAIL)


@pytest.fixture
def copied(tmp_path: Path, source: Path) -> Callable[..., dict]:
    """Judge a copy that must end well: the disk is on the target, and the result of it is returned."""
    result = tmp_path / "result.json"

    def judged(*arguments: object, target: Path, by: object = transferd, expects_cache: bool = False) -> dict:
        done = by("copy", *arguments, target, "--result", result)
        assert done.returncode == 0, done.stderr
        assert ("no O_DIRECT" in done.stderr) == expects_cache
        assert source.read_bytes() == target.read_bytes()[: source.stat().st_size]
        disk = json.loads(result.read_text())["disks"][0]
        assert disk["digest"] == transferd("digest", source).stdout.strip()
        return disk

    return judged


@pytest.fixture
def lossy(tmp_path: Path) -> Iterator[Callable[..., "LossyFs"]]:
    """Storage under `bad` that breaks, as told, for the file `target` alone."""
    require("fusermount3", "setpriv")
    demand(None if LossyFs else "not installed: mfusepy")
    demand(None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "no access to /dev/fuse")
    (tmp_path / "backing").mkdir()
    (tmp_path / "bad").mkdir()
    with ExitStack() as mounted:
        yield lambda **faults: mounted.enter_context(
            LossyFs(tmp_path / "backing", tmp_path / "bad", Faults("target", **faults))
        )


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """The target on lossy storage."""
    return tmp_path / "bad" / "target"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount one with these options."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "tmpfs"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        subprocess.run(command, check=True, timeout=DEADLINE)
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=DEADLINE)


def injected(calls: str, answer: str, target: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run transferd with these system calls on `target` answered by strace; `when=` counts in each thread."""
    require("strace")
    if not target.exists():
        target.touch()  # strace looks the path up before it starts
    tracer = ["strace", "-f", "--seccomp-bpf", "-qq", "-P", str(target),
              "-e", f"trace={calls}", "-e", f"inject={calls}:{answer}"]  # fmt: skip

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        with tempfile.NamedTemporaryFile("r") as trace:
            command = [*tracer, "-o", trace.name, *argv(*arguments)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
            assert "(INJECTED)" in trace.read()  # or the test would prove nothing
        return done

    return run


WRITES = "pwritev,pwritev2"


# --- storage that says so --------------------------------------------------------------------------------


def test_f31_a_volume_too_small_is_refused_before_anything_is_written(tmpfs, source: Path):
    target = tmpfs("size=8M") / "target"

    refused(transferd("copy", source, target), 5, "no space", "8 MiB free")
    assert not target.exists() or target.stat().st_blocks == 0


def test_f31_a_volume_that_runs_full_ends_the_copy_which_goes_on_when_it_has_grown(
    copied, tmpfs, nbd_server, source: Path, tmp_path: Path
):
    folder = tmpfs("size=12M")
    target, filler = folder / "target", folder / "filler"
    journal = ("--journal", tmp_path / "journal")
    server = nbd_server("--filter=delay", "file", str(source), "rdelay=50ms")
    with started("copy", server.uri, target, *ONE_BY_ONE, *journal) as run:
        wait_until(lambda: target.exists() and target.stat().st_blocks * 512 >= 2 * MiB)
        filler.write_bytes(bytes(7 * MiB))
        full = ended(run)

    refused(full, 5, "No space left on device", "offset", "free space")
    subprocess.run(["mount", "-o", "remount,size=64M", str(folder)], check=True, timeout=DEADLINE)
    assert copied(server.uri, *journal, target=target)["verify"]["mismatched"] == 0


def test_f32_an_error_that_passes_is_survived(copied, source: Path, target: Path):
    by = injected(WRITES, "error=EIO:when=1..2", target)

    assert copied(source, target=target, by=by)["verify"]["mismatched"] == 0


def test_f32_an_error_that_stays_is_named_after_three_attempts(copied, source: Path, target: Path):
    refused(injected(WRITES, "error=EIO", target)("copy", source, target), 5, "Input/output error", "offset")
    assert copied(source, target=target)["verify"]["mismatched"] == 0


def test_f33_nothing_is_believed_of_what_a_failed_flush_covered(copied, source: Path, target: Path):
    run = injected("fdatasync", "error=EIO:when=1", target)("copy", source, target)

    refused(run, 5, "Input/output error", "flush")
    assert copied(source, target=target)["resumed_blocks"] == 0


def test_f33_a_second_flush_that_succeeds_redeems_nothing(copied, lossy, source: Path, bad: Path):
    storage = lossy(fsync_eio=1)

    refused(transferd("copy", source, bad), 5, "Input/output error", "flush")
    assert copied(source, target=bad)["resumed_blocks"] == 0
    assert storage.struck == ["fsync_eio"]


# --- storage that says nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize("write", [1, 7])
def test_f34_a_lost_write_is_found_and_made_again(copied, lossy, source: Path, bad: Path, write):
    storage = lossy(drop_write=write)
    done = copied(source, target=bad)

    assert storage.struck == ["drop_write"]
    assert (done["verify"]["mismatched"], done["verify"]["healed"]) == (1, 1)
    assert len(done["warnings"]) == 1


def test_f34_storage_that_loses_every_write_is_no_success(tmp_path: Path, target: Path):
    source = dsl.write("-A-B", tmp_path / "source")  # writes of a MiB each
    run = injected(WRITES, f"retval={MiB}", target)("copy", source, target)

    refused(run, 6, "not even when written again", "offset 0")


def test_f34_without_a_proof_none_is_claimed(source: Path, lossy, bad: Path, tmp_path: Path):
    lossy(drop_write=1)
    result = tmp_path / "result.json"

    assert transferd("copy", source, bad, "--verify", "none", "--result", result).returncode == 0
    proof = json.loads(result.read_text())["disks"][0]["verify"]
    assert (proof["mode"], proof["blocks"]) == ("none", 0)


def test_f35_short_writes_are_continued(copied, lossy, tmp_path: Path, bad: Path):
    dsl.write("A-B", tmp_path / "source", tail=TAIL)
    storage = lossy(short_writes=3000)
    done = copied(tmp_path / "source", target=bad)

    assert "short_writes" in storage.struck
    assert done["verify"]["mismatched"] == 0


def test_f36_where_holes_cannot_be_punched_zeros_are_written(copied, lossy, source: Path, bad: Path):
    storage = lossy(no_punch=True)
    bad.write_bytes(b"\xa5" * source.stat().st_size)
    copied(source, target=bad)

    assert set(storage.struck) == {"no_punch"}


@pytest.mark.parametrize("calls", ["fallocate", "ioctl"])
def test_f36_where_the_kernel_cannot_zero_zeros_are_written(
    copied, loop_device, source: Path, target: Path, tmp_path: Path, calls
):
    place = loop_device(source.stat().st_size + 512) if calls == "ioctl" else target
    if calls == "fallocate":
        target.write_bytes(b"\xa5" * source.stat().st_size)

    copied(
        source,
        "--journal",
        tmp_path / "journal",
        target=place,
        by=injected(calls, "error=EOPNOTSUPP", place),
    )


def test_f37_a_reused_file_reads_as_the_disk_although_no_extents_are_told(
    copied, nbd_server, source: Path, target: Path
):
    target.write_bytes(b"\xa5" * source.stat().st_size)
    server = nbd_server("--filter=noextents", "file", str(source))

    assert copied(server.uri, target=target)["skipped_bytes"] == 0


def test_f38_a_device_one_sector_too_small_is_refused_untouched(loop_device, source: Path, tmp_path: Path):
    size = source.stat().st_size - 512
    device = loop_device(size)

    refused(
        transferd("copy", source, device, "--journal", tmp_path / "journal"), 5, "too small", f"{size} bytes"
    )
    assert device.read_bytes() == b"\xa5" * size


def test_f39_a_bit_that_flips_on_the_target_is_found_and_healed(copied, lossy, source: Path, bad: Path):
    storage = lossy(flip_at=6 * MiB + 77)
    done = copied(source, target=bad)

    assert "flip" in storage.struck
    assert (done["verify"]["mismatched"], done["verify"]["healed"]) == (1, 1)


def test_f39_a_bad_place_on_the_target_is_named(lossy, source: Path, bad: Path):
    lossy(flip_at=6 * MiB + 77, healing=False)

    refused(transferd("copy", source, bad), 6, "not even when written again", f"offset {BLOCK}")


def test_f39_a_bit_that_flips_between_two_attempts_is_found_and_healed(
    copied, nbd_server, source: Path, target: Path
):
    server = nbd_server("--filter=delay", "file", str(source), "rdelay=100ms")
    with started("copy", server.uri, target, *ONE_BY_ONE) as run:
        wait_until(lambda: target.exists() and target.stat().st_blocks * 512 >= 5 * MiB)
        run.terminate()
        assert ended(run).returncode == 8
    with target.open("r+b") as file:
        file.seek(MiB + 5)
        file.write(b"\0")

    done = copied(server.uri, target=target)
    assert done["resumed_blocks"] >= 1
    assert (done["verify"]["mismatched"], done["verify"]["healed"]) == (1, 1)


# --- storage that is slow, odd or read-only --------------------------------------------------------------


def memory_of(*arguments: object) -> int:
    """Bytes that a run which must end well held at most."""
    with started(*arguments) as run:
        most = peak_memory(run)
        done = ended(run)
    assert done.returncode == 0, done.stderr
    return most


def test_f43_a_slow_target_makes_the_copy_wait_and_not_grow(lossy, bad: Path, tmp_path: Path):
    """128 MiB would pile up in memory if they could: they come at once and go at 12 MiB a second."""
    source = dsl.write("AB" * 64, tmp_path / "source")
    idle = memory_of("copy", dsl.write("A", tmp_path / "small"), tmp_path / "idle")
    lossy(write_delay=0.01)

    assert memory_of("copy", source, bad, "--patience", "2s") < idle + 80 * MiB  # the ring has 48
    assert source.read_bytes() == bad.read_bytes()


def test_f44_a_file_system_that_becomes_read_only_ends_the_copy(lossy, source: Path, bad: Path):
    lossy(read_only_after=5 * MiB)

    refused(transferd("copy", source, bad), 5, "Read-only file system", "offset", "another target")


def test_f44_a_read_only_file_system_is_refused(tmpfs, source: Path):
    target = tmpfs("size=64M,ro") / "target"

    refused(transferd("copy", source, target), 5, "Read-only file system")


def test_f45_a_device_of_4_kib_sectors_takes_a_disk_of_odd_size(copied, source: Path, tmp_path: Path):
    require("losetup")
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    backing = tmp_path / "backing"
    backing.write_bytes(b"\xa5" * (len(DISK) * MiB + PAGE))
    make = ["losetup", "--find", "--show", "--sector-size", str(PAGE), str(backing)]
    device = Path(subprocess.run(make, check=True, capture_output=True, text=True).stdout.strip())
    try:
        copied(source, "--journal", tmp_path / "journal", target=device)
        behind = device.read_bytes()[source.stat().st_size :]
    finally:
        subprocess.run(["losetup", "--detach", str(device)], check=True)

    assert behind == b"\xa5" * (PAGE - TAIL)


def test_f45_a_source_of_4_kib_sectors_is_asked_for_whole_sectors(copied, nbd_server, tmp_path, target: Path):
    source = dsl.write(DISK, tmp_path / "source")
    policy = [
        "blocksize-minimum=4096",
        "blocksize-preferred=4096",
        "blocksize-maximum=32M",
        "blocksize-error-policy=error",
    ]
    server = nbd_server("--filter=blocksize-policy", "file", str(source), *policy)

    assert copied(server.uri, target=target)["retries"] == 0


def test_f46_a_file_system_without_direct_io_is_written_through_the_cache_and_the_log_says_so(
    copied, lossy, source: Path, bad: Path
):
    storage = lossy(no_direct=True)

    assert copied(source, target=bad, expects_cache=True)["verify"]["blocks"] == 4
    assert storage.struck == ["no_direct"]
