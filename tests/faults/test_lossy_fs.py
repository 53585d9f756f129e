"""The lossy file system on its own: it keeps what it is given, but for the one fault that was asked for."""

import errno
import mmap
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import demand, require

try:
    from tests.faults.lossy_fs import Faults, LossyFs
except ModuleNotFoundError:  # mfusepy: the fixture below says so
    LossyFs = None

KiB = 1024
DATA = random.Random(36).randbytes(256 * KiB)  # 256 KiB: two requests with O_DIRECT


@pytest.fixture
def lossy(tmp_path: Path) -> Iterator[Callable[..., "LossyFs"]]:
    require("fusermount3", "setpriv")
    demand(None if LossyFs else "not installed: mfusepy")
    demand(None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "no access to /dev/fuse")
    (tmp_path / "backing").mkdir()
    (tmp_path / "mount").mkdir()
    with ExitStack() as mounted:
        yield lambda **faults: mounted.enter_context(
            LossyFs(tmp_path / "backing", tmp_path / "mount", Faults("disk", **faults))
        )


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return tmp_path / "mount" / "disk"


def raised(call: Callable[[], object]) -> int | None:
    try:
        call()
    except OSError as error:
        return error.errno
    return None


def written(path: Path, data: bytes = DATA) -> int:
    """Bytes that one O_DIRECT write took, from a new file's start."""
    page = mmap.mmap(-1, len(data))
    page.write(data)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        return os.pwritev(direct, [page], 0)
    finally:
        os.close(direct)
        os.close(fd)


def test_without_faults_it_keeps_everything(lossy, disk: Path, tmp_path: Path):
    fs = lossy()
    disk.write_bytes(DATA)
    disk.rename(disk.with_name("moved"))

    assert (tmp_path / "backing" / "moved").read_bytes() == disk.with_name("moved").read_bytes() == DATA
    assert fs.struck == []


def test_direct_io_works_where_it_is_not_switched_off(lossy, disk: Path):
    lossy()

    assert written(disk) == len(DATA)
    assert disk.read_bytes() == DATA


def test_no_direct_is_einval_at_open(lossy, disk: Path):
    fs = lossy(no_direct=True)

    assert raised(lambda: os.open(disk, os.O_RDWR | os.O_CREAT | os.O_DIRECT)) == errno.EINVAL
    assert fs.struck == ["no_direct"]
    assert disk.write_bytes(DATA) == len(DATA)


def test_no_punch_refuses_holes_and_leaves_the_bytes(lossy, disk: Path):
    fs = lossy(no_punch=True)
    disk.write_bytes(DATA)
    punched = subprocess.run(["fallocate", "--punch-hole", "--length", "4096", disk], check=False, timeout=20)

    assert punched.returncode != 0
    assert fs.struck == ["no_punch"]
    assert disk.read_bytes() == DATA


def test_holes_are_punched_where_that_is_not_switched_off(lossy, disk: Path):
    lossy()
    disk.write_bytes(DATA)
    subprocess.run(["fallocate", "--punch-hole", "--length", "4096", disk], check=True, timeout=20)

    assert disk.read_bytes() == bytes(4096) + DATA[4096:]


def test_a_dropped_write_succeeds_and_is_missing(lossy, disk: Path, tmp_path: Path):
    fs = lossy(drop_write=2)

    assert written(disk) == len(DATA)
    kept = (tmp_path / "backing" / "disk").read_bytes()
    assert kept[: 128 * KiB] == DATA[: 128 * KiB]
    assert DATA[128 * KiB :] not in kept
    assert fs.struck == ["drop_write"]


def test_other_files_are_on_good_storage(lossy, disk: Path):
    fs = lossy(drop_write=1, fsync_eio=1, space=0)
    journal = disk.with_name("disk.journal")
    journal.write_bytes(DATA)

    assert journal.read_bytes() == DATA
    assert fs.struck == []


def test_a_flipped_bit_is_there_until_it_is_written_again(lossy, disk: Path):
    lossy(flip_at=1000)
    fd = os.open(disk, os.O_RDWR | os.O_CREAT)
    reads = []
    for rewrite in (True, False, True):
        if rewrite:
            os.pwrite(fd, DATA, 0)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        reads.append(os.pread(fd, 1, 1000)[0])
    os.close(fd)

    assert reads == [DATA[1000] ^ 1, DATA[1000] ^ 1, DATA[1000]]


def test_fsync_fails_once_and_succeeds_ever_after(lossy, disk: Path):
    lossy(fsync_eio=2)
    fd = os.open(disk, os.O_RDWR | os.O_CREAT)
    outcomes = []
    for _ in range(4):
        os.pwrite(fd, DATA, 0)
        outcomes.append(raised(lambda: os.fsync(fd)))
    os.close(fd)

    assert outcomes == [None, errno.EIO, None, None]


def test_short_writes_take_what_they_say(lossy, disk: Path):
    fs = lossy(short_writes=1000)
    taken = written(disk)

    assert 0 < taken < len(DATA)
    assert disk.read_bytes() == DATA[:taken]
    assert "short_writes" in fs.struck


@pytest.mark.parametrize(("fault", "code"), [("space", errno.ENOSPC), ("read_only_after", errno.EROFS)])
def test_writing_ends_after_so_many_bytes(lossy, disk: Path, fault: str, code: int):
    lossy(**{fault: 128 * KiB})

    assert written(disk) == 128 * KiB
    assert raised(lambda: written(disk)) == code


def test_a_slow_write_takes_its_time(lossy, disk: Path):
    lossy(write_delay=0.2)
    began = time.monotonic()
    written(disk, DATA[:4096])

    assert time.monotonic() - began >= 0.2


def test_nothing_stays_mounted(lossy, disk: Path, tmp_path: Path):
    fs = lossy()
    open_file = os.open(disk, os.O_RDWR | os.O_CREAT)
    fs.__exit__()

    assert not (tmp_path / "mount").is_mount()
    assert raised(lambda: os.close(open_file)) == errno.ENOTCONN
