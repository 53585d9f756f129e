"""Input that nobody should give and somebody will: one line, the right exit code, nothing touched, no hang.

Named by the rows of the bad-input matrix. What can be tried without a process is in test_options.py,
test_extents.py (B22), test_plan.py (B21) and test_journal.py (B35).
"""

import os
import socket
import stat
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests import digest_independent as independent
from tests import dsl
from tests.cli import argv, refused, transferd
from tests.conftest import require
from transferd.units import GiB, MiB

DEADLINE = 60.0  # s


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return dsl.write("A-B0", tmp_path / "source", tail=512)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def untouched(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


# --- the command line ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["copie", "source", "target"], "copie"),
        (["copy"], "Missing argument"),
        (["copy", "source"], "SOURCE and TARGET"),
        (["copy", "source", "target", "third"], "SOURCE and TARGET"),
        (["copy", "source", "target", "--very-fast"], "--very-fast"),
        (["copy", "source", "target", "--request-size"], "--request-size"),
        (["digest"], "Missing argument"),
    ],
)
def test_b01_what_the_command_line_does_not_know_is_exit_2(tmp_path, arguments, words):
    refused(transferd(*arguments, cwd=tmp_path), 2, words)

    assert untouched(tmp_path, "source")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    "twice",
    [
        ["--verify", "none", "--verify", "full"],
        ["--verify=none", "--verify", "full"],
        ["--resume", "--fresh"],
        ["--queue-depth", "1", "--queue-depth", "2"],
        ["--journal", "a", "--journal", "b"],
    ],
    ids=" ".join,
)
def test_b02_an_option_given_twice_with_different_values_is_refused(tmp_path, twice):
    refused(transferd("copy", "source", "target", *twice, cwd=tmp_path), 2, "twice")

    assert untouched(tmp_path, "source")


@pytest.mark.parametrize("size", ["10X", "-1", "1e9", "0", str(1 << 63), "", "\uff14MiB", "9" * 400])
def test_b03_what_is_no_size_is_refused(source, size):
    run = transferd("digest", source, "--size", size)

    assert run.returncode in {2, 4}, run.stderr
    refused(run, run.returncode)


@pytest.mark.parametrize(
    ("size", "length"), [("1024", 1024), (" 1 MiB ", MiB), ("1MB", 1_000_000), ("1K", 1024)]
)
def test_b03_a_size_with_or_without_unit_is_what_it_says(source, size, length):
    digest = transferd("digest", source, "--size", size).stdout.strip()

    assert digest == independent.of_file(source, length)


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("patience", ["5", f"{10**12}s"])
def test_b04_what_is_no_duration_is_refused(tmp_path, patience):
    refused(transferd("copy", "source", "target", "--patience", patience, cwd=tmp_path), 2)

    assert untouched(tmp_path, "source")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("option", ["--queue-depth", "--connections"])
@pytest.mark.parametrize("number", ["0", "1000000", "four"])
def test_b05_how_much_at_once_is_a_small_number(tmp_path, option, number):
    refused(transferd("copy", "source", "target", option, number, cwd=tmp_path), 2, option)

    assert untouched(tmp_path, "source")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("size", ["33MiB", "513", "4MiB1"])
def test_b06_a_request_is_of_whole_sectors_and_not_too_large(tmp_path, size):
    refused(transferd("copy", "source", "target", "--request-size", size, cwd=tmp_path), 2, size)

    assert untouched(tmp_path, "source")


@pytest.mark.parametrize(
    "uri", ["nbd://user:hunter2@host/disk", "nbds://:hunter2@host", "nbd+unix://a:hunter2@/x?socket=/s"]
)
def test_b07_a_password_in_a_uri_is_refused_and_not_repeated(target, uri):
    run = transferd("copy", uri, target)

    refused(run, 2, "password")
    assert "hunter2" not in run.stderr + run.stdout
    assert not target.exists()


@pytest.mark.parametrize("place", ["source", "target", "journal"])
def test_a_result_that_would_overwrite_the_copy_is_refused(source, tmp_path, place):
    """The document is written last: given the target's name it would replace a disk that was just proven."""
    content = source.read_bytes()
    run = transferd("copy", "source", "target", "--journal", "journal", "--result", place, cwd=tmp_path)

    refused(run, 2, "--result")
    assert source.read_bytes() == content


@pytest.mark.parametrize("place", ["source", "target"])
def test_a_journal_in_the_place_of_a_disk_is_refused(source, tmp_path, place):
    content = source.read_bytes()
    run = transferd("copy", "source", "target", "--journal", place, cwd=tmp_path)

    refused(run, 2, place)
    assert source.read_bytes() == content


# --- sizes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 511, 512, 4 * MiB + 1])
def test_b21_a_disk_of_an_odd_size_is_copied(tmp_path, target, size):
    (tmp_path / "source").write_bytes(b"\xee" * size)

    assert transferd("copy", tmp_path / "source", target).returncode == 0
    assert target.read_bytes() == b"\xee" * size


def test_b21_a_disk_of_no_size_is_refused(tmp_path):
    (tmp_path / "source").touch()
    refused(transferd("copy", tmp_path / "source", tmp_path / "target"), 2, "0 bytes")

    assert untouched(tmp_path, "source")


def test_b21_a_large_empty_disk_is_a_matter_of_seconds(tmp_path, target):
    (tmp_path / "source").touch()
    os.truncate(tmp_path / "source", 256 * GiB)

    assert transferd("copy", tmp_path / "source", target, "--verify", "none").returncode == 0
    assert target.stat().st_size == 256 * GiB


# --- places ----------------------------------------------------------------------------------------------


def test_b30_a_device_that_is_too_small_is_refused_before_the_first_write(tmp_path, source, loop_device):
    device = loop_device(4 * MiB)
    refused(transferd("copy", source, device, "--state", tmp_path), 5, "too small")

    assert device.read_bytes() == b"\xa5" * 4 * MiB


def test_b30_a_larger_device_keeps_what_lies_behind_the_disk(tmp_path, source, loop_device):
    device = loop_device(6 * MiB)

    assert transferd("copy", source, device, "--state", tmp_path).returncode == 0
    size = source.stat().st_size
    assert device.read_bytes() == source.read_bytes() + b"\xa5" * (6 * MiB - size)


def test_b30_a_mounted_device_is_refused(tmp_path, source, loop_device):
    require("mkfs.ext2")
    device = loop_device(8 * MiB)
    subprocess.run(["mkfs.ext2", "-q", "-F", device], check=True)
    (tmp_path / "mount").mkdir()
    subprocess.run(["mount", device, tmp_path / "mount"], check=True)
    try:
        run = transferd("copy", source, device, "--state", tmp_path)
    finally:
        subprocess.run(["umount", tmp_path / "mount"], check=True)

    refused(run, 5, "mounted or in use")


def test_b30_a_larger_file_is_refused_and_kept(source, target):
    target.write_bytes(b"\xa5" * 8 * MiB)
    refused(transferd("copy", source, target), 5, "already holds")

    assert target.read_bytes() == b"\xa5" * 8 * MiB


def made_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def made_hard_link(path: Path) -> None:
    path.with_name("precious").write_bytes(b"\xa5" * MiB)
    path.hardlink_to(path.with_name("precious"))


def made_link(path: Path) -> None:
    path.with_name("precious").write_bytes(b"\xa5" * MiB)
    path.symlink_to("precious")


PLACES = {
    "link": made_link,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link in a circle": lambda path: path.symlink_to(path.name),
    "hard link": made_hard_link,
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "socket": made_socket,
    "character device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
}


@pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("what", ["target", "target.journal"])
def test_b31_what_is_no_plain_file_is_not_written_to(tmp_path, source, target, what, make):
    make(tmp_path / what)
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    refused(transferd("copy", source, target), 2)

    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before
    if (tmp_path / "precious").exists():
        assert (tmp_path / "precious").read_bytes() == b"\xa5" * MiB


@pytest.mark.parametrize("kind", ["fifo", "folder", "character device", "dangling link"])
def test_b31_what_is_no_disk_is_not_read(tmp_path, target, kind):
    PLACES[kind](tmp_path / "source")
    run = transferd("copy", tmp_path / "source", target)

    assert run.returncode in {2, 4}
    refused(run, run.returncode)
    assert not target.exists()


# --- what the journal's place holds ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"transferd journal 2\nfrom the future", b"{}", b"\x7fELF", b"transferd journal 1\n\x05\0\0\0abcdH"],
)
def test_b35_a_journal_that_cannot_be_read_is_refused_and_kept(tmp_path, source, target, content):
    journal = tmp_path / "target.journal"
    journal.write_bytes(content + bytes(100))
    refused(transferd("copy", source, target), 2, "journal")

    assert journal.read_bytes() == content + bytes(100)
    assert not target.exists()


def test_b35_an_empty_journal_is_a_new_one(tmp_path, source, target):
    (tmp_path / "target.journal").touch()

    assert transferd("copy", source, target).returncode == 0
    assert target.read_bytes() == source.read_bytes()


def test_b35_a_journal_of_a_gib_is_refused_at_once(tmp_path, source, target):
    (tmp_path / "target.journal").touch()
    os.truncate(tmp_path / "target.journal", GiB)
    began = time.monotonic()
    refused(transferd("copy", source, target), 2, "journal")

    assert time.monotonic() - began < 10


def test_b35_a_journal_edited_by_hand_costs_a_comparison_and_nothing_else(tmp_path, source, target):
    assert transferd("copy", source, target).returncode == 0
    journal = tmp_path / "target.journal"
    content = journal.read_bytes()
    journal.write_bytes(content[:-60] + b"!" + content[-59:])
    target.write_bytes(b"\xa5" * target.stat().st_size)
    run = transferd("copy", source, target)

    assert run.returncode == 0, run.stderr
    assert target.read_bytes() == source.read_bytes()


# --- what the disk holds ---------------------------------------------------------------------------------


def qcow2(backing: bytes) -> bytes:
    """The header of a qcow2 image of 1 GiB with a backing file (docs/interop/qcow2.txt of QEMU)."""
    head = struct.pack(">4sIQIIQIIQQ", b"QFI\xfb", 2, 72, len(backing), 16, GiB, 0, 1, 65536, 0)
    return (head + struct.pack(">QII", 0, 0, 0) + backing).ljust(MiB, b"\x11")


def vmdk(extent: bytes) -> bytes:
    text = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 2048 FLAT "%s" 0\n'
    return (text % extent).ljust(MiB, b"\n")


@pytest.mark.parametrize("header", [qcow2, vmdk])
def test_b36_a_disk_that_looks_like_an_image_is_copied_as_it_is_and_nothing_it_names_is_opened(
    tmp_path, target, header, nbd_server
):
    require("strace")
    secret = tmp_path / "secret"
    secret.write_bytes(b"the password is hunter2\n" * 1000)
    source = tmp_path / "source"
    source.write_bytes(header(bytes(secret)))
    trace = tmp_path / "trace"
    command = argv("copy", source, target, "--verify", "full")
    traced = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=file", *command]
    run = subprocess.run(traced, capture_output=True, text=True, timeout=DEADLINE, check=False)

    assert run.returncode == 0, run.stderr
    assert target.read_bytes() == source.read_bytes()
    assert str(source) in trace.read_text()
    assert str(secret) not in trace.read_text()

    over_nbd = tmp_path / "over-nbd"
    assert transferd("copy", nbd_server("file", str(source)).uri, over_nbd).returncode == 0
    assert over_nbd.read_bytes() == source.read_bytes()
