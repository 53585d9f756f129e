"""`transferd copy` between files, block devices and NBD servers, judged by the bytes it leaves."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, ended, refused, started, transferd, wait_until
from transferd.units import MiB

TAIL = 3 * 512  # disks end on a sector, hardly ever on a block


def result_of(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "disk", ["A", "-", "0", "A0-B", "----A---", "-A" * 6, "ABCDEFGHIJ", "--------------"]
)
def test_a_new_file_becomes_the_disk_and_stays_sparse(tmp_path: Path, disk):
    source = dsl.write(disk, tmp_path / "source", tail=TAIL)
    target, result = tmp_path / "target", tmp_path / "result.json"

    run = transferd("copy", source, target, "--result", result)
    copied = result_of(result)["disks"][0]

    assert run.returncode == 0, run.stderr
    assert source.read_bytes() == target.read_bytes()
    assert target.stat().st_blocks * 512 <= sum(kind not in "0-" for kind in disk) * MiB + 64 * 1024
    assert transferd("digest", source).stdout.strip() == copied["digest"]
    assert copied["skipped_bytes"] == sum(kind in "0-" for kind in disk) * MiB
    blocks = -(-(len(disk) * MiB + TAIL) // (4 * MiB))
    assert copied["verify"] == {"mode": "target", "blocks": blocks, "mismatched": 0, "healed": 0}


@pytest.mark.parametrize("disk", ["A0-B", "----", "-A0" * 5])
def test_a_block_device_with_old_bytes_reads_as_the_disk_and_keeps_what_lies_behind_it(
    tmp_path: Path, loop_device, disk
):
    source = dsl.write(disk, tmp_path / "source", tail=TAIL)
    size = source.stat().st_size
    device = loop_device(size + 2 * MiB)

    assert transferd("copy", source, device).returncode == 0
    content = device.read_bytes()

    assert source.read_bytes() == content[:size]
    assert b"\xa5" * (len(content) - size) == content[size:]


def test_a_reused_file_loses_its_old_bytes(tmp_path: Path):
    source = dsl.write("A-0B", tmp_path / "source")
    target = dsl.write("YYYY", tmp_path / "target")

    assert transferd("copy", source, target).returncode == 0
    assert source.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("filters", [[], ["--filter=noextents"]], ids=["extents", "without extents"])
def test_an_nbd_server_is_a_source(tmp_path: Path, nbd_server, filters):
    source = dsl.write("A0-B--C" * 3, tmp_path / "source", tail=TAIL)
    server = nbd_server(*filters, "file", str(source))
    target, result = tmp_path / "target", tmp_path / "result.json"

    assert transferd("copy", server.uri, target, "--result", result).returncode == 0
    copied = result_of(result)["disks"][0]

    assert source.read_bytes() == target.read_bytes()
    assert (
        (source.stat().st_size if filters else 12 * MiB + TAIL)
        == copied["data_bytes"]
        == copied["read_bytes"]
    )


def test_extents_are_asked_before_the_first_read_and_several_reads_are_in_flight(tmp_path: Path, nbd_server):
    source = dsl.write("AB-C" * 4, tmp_path / "source")
    log = tmp_path / "log"
    server = nbd_server(
        "--filter=log", "--filter=delay", "file", str(source), f"logfile={log}", "rdelay=50ms"
    )

    assert transferd("copy", server.uri, tmp_path / "target", "--queue-depth", "8").returncode == 0
    lines = log.read_text().splitlines()
    operations = [line.split()[3] for line in lines if " id=" in line and "..." in line]
    in_flight = most = 0
    for line in lines:
        in_flight += " Read id=" in line and line.endswith("...")
        in_flight -= "...Read id=" in line
        most = max(most, in_flight)

    assert "Extents" in operations
    assert max(i for i, name in enumerate(operations) if name == "Extents") < operations.index("Read")
    assert 4 < most <= 8


def test_a_lost_connection_is_taken_up_again_without_copying_twice(tmp_path: Path, nbd_server):
    source = dsl.write("ABCDEFGH" * 8, tmp_path / "source")
    server = nbd_server("--filter=rate", "file", str(source), "rate=200M")
    target, result = tmp_path / "target", tmp_path / "result.json"
    with subprocess.Popen(argv("copy", server.uri, target, "--result", result)) as run:
        _wait_for_bytes(target)
        server.kill()
        server.start()
        run.wait(timeout=60)
    copied = result_of(result)["disks"][0]

    assert run.returncode == 0
    assert source.read_bytes() == target.read_bytes()
    assert copied["retries"] >= 1
    assert copied["read_bytes"] == 64 * MiB


def test_a_server_that_stays_away_ends_the_copy_with_exit_10(tmp_path: Path, nbd_server):
    source = dsl.write("ABCDEFGH" * 8, tmp_path / "source")
    server = nbd_server("--filter=rate", "file", str(source), "rate=100M")
    target, result = tmp_path / "target", tmp_path / "result.json"
    with started("copy", server.uri, target, "--result", result) as run:
        _wait_for_bytes(target)
        server.kill()
        done = ended(run, 60)

    refused(done, 10, "5 attempts")
    assert result_of(result)["outcome"] == "failed"
    assert result_of(result)["error"]["exit_code"] == 10


def test_a_server_whose_extents_fail_is_read_whole(tmp_path: Path, nbd_server):
    source = dsl.write("A--B", tmp_path / "source")
    server = nbd_server("--filter=error", "file", str(source), "error-extents-rate=100%")
    target, result = tmp_path / "target", tmp_path / "result.json"

    assert transferd("copy", server.uri, target, "--result", result).returncode == 0
    assert source.read_bytes() == target.read_bytes()
    assert result_of(result)["disks"][0]["data_bytes"] == 4 * MiB


def test_a_permanent_read_error_names_its_place(tmp_path: Path, nbd_server):
    source = dsl.write("ABCD" * 2, tmp_path / "source")
    refuse = f"if [ $4 -ge {5 * MiB} ]; then echo EIO bad sector >&2; exit 1; fi"
    read = f"dd if={source} iflag=skip_bytes,count_bytes skip=$4 count=$3 bs=1M 2>/dev/null"
    server = nbd_server("eval", f"get_size=echo {8 * MiB}", f"pread={refuse}; {read}")

    refused(transferd("copy", server.uri, tmp_path / "target"), 4, "offset", "Input/output error")


def test_a_signal_ends_the_copy_in_order(tmp_path: Path, nbd_server):
    source = dsl.write("ABCDEFGH" * 8, tmp_path / "source")
    server = nbd_server("--filter=rate", "file", str(source), "rate=50M")
    target = tmp_path / "target"
    with started("copy", server.uri, target) as run:
        _wait_for_bytes(target)
        run.send_signal(signal.SIGTERM)
        done = ended(run, 30)

    refused(done, 8, "signal")


def test_a_write_that_never_reached_the_storage_is_found(tmp_path: Path):
    """strace makes one pwritev claim success without writing: the classic lost write."""
    source = dsl.write("ABCDEFGH", tmp_path / "source")
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwritev,pwritev2",
            "-e", f"inject=pwritev,pwritev2:retval={4 * MiB}:when=1",
            *argv("copy", source, tmp_path / "target")]  # fmt: skip

    refused(
        subprocess.run(traced, capture_output=True, text=True, timeout=120, check=False),
        6,
        "verify at offset",
    )


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_a_failed_flush_is_fatal(tmp_path: Path, call):
    source = dsl.write("AB", tmp_path / "source")
    injected = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO"]
    command = argv("copy", source, tmp_path / "target")
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", *injected, *command]
    run = subprocess.run(traced, capture_output=True, text=True, timeout=120, check=False)

    if call == "fsync":
        refused(run, 5, "Input/output error")
    else:
        assert run.returncode == 0  # not the call that transferd relies on


def test_a_full_file_system_is_seen_before_the_first_byte(tmp_path: Path, small_file_system):
    source = dsl.write("ABCDEFGH" * 2, tmp_path / "source")

    refused(transferd("copy", source, small_file_system / "target"), 5, "no space", "free space")


def test_a_file_system_that_fills_up_while_copying_ends_with_exit_5(
    tmp_path: Path, nbd_server, small_file_system
):
    source = dsl.write("ABCDEF", tmp_path / "source")
    server = nbd_server("--filter=delay", "file", str(source), "rdelay=1")
    target = small_file_system / "target"
    with started("copy", server.uri, target, "--queue-depth", "1") as run:
        wait_until(target.exists, 30)
        time.sleep(0.5)
        (small_file_system / "other").write_bytes(bytes(4 * MiB))
        done = ended(run, 60)

    refused(done, 5, "No space left", "write at offset")


def test_a_device_that_is_too_small_is_refused_with_both_sizes(tmp_path: Path, loop_device):
    source = dsl.write("ABCD", tmp_path / "source")
    device = loop_device(2 * MiB)

    refused(transferd("copy", source, device), 5, "too small", str(2 * MiB), str(4 * MiB))
    assert b"\xa5" * 2 * MiB == device.read_bytes()


def test_a_target_in_a_missing_folder_is_refused(tmp_path: Path):
    source = dsl.write("A", tmp_path / "source")

    refused(transferd("copy", source, tmp_path / "no" / "target"), 5, "No such file", "create the folder")


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path, read_only_folder):
    source = dsl.write("A", tmp_path / "source")

    refused(
        transferd("copy", source, read_only_folder / "target"), 5, "Read-only file system", "choose another"
    )


def test_a_larger_file_is_not_cut_short(tmp_path: Path):
    source = dsl.write("A", tmp_path / "source")
    target = dsl.write("XY", tmp_path / "target")

    refused(transferd("copy", source, target), 5, "already holds")
    assert dsl.content("XY") == target.read_bytes()


def test_two_copies_to_one_target_are_refused(tmp_path: Path, nbd_server):
    source = dsl.write("ABCD", tmp_path / "source")
    server = nbd_server("--filter=delay", "file", str(source), "rdelay=3")
    target = tmp_path / "target"
    with subprocess.Popen(argv("copy", server.uri, target)) as first:
        wait_until(target.exists, 30)

        refused(transferd("copy", source, target), 5, "another copy")

        assert first.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["copy"], ["Missing argument"]),
        (["copy", "one"], ["SOURCE and TARGET"]),
        (["copy", "source", "target", "--disk", "0"], ["need --vcenter"]),
        (["copy", "no-such-file", "target"], ["no such file"]),
        (["copy", "http://host/disk", "target"], ["not an NBD URI"]),
        (["copy", "source", "source"], ["same file"]),
        (["copy", "source", "."], ["folder"]),
        (["copy", "empty", "target"], ["0 bytes"]),
        (["copy", "source", "target", "--request-size", "7"], ["request-size"]),
        (["copy", "source", "target", "--verify", "maybe"], ["verify"]),
        (["copy", "source", "target", "--result", "no/such/folder"], ["cannot write"]),
    ],
)
def test_what_cannot_be_meant_is_exit_2(tmp_path: Path, arguments, words):
    dsl.write("A", tmp_path / "source")
    (tmp_path / "empty").touch()
    run = transferd(*arguments, cwd=tmp_path)

    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    assert all(word in run.stderr for word in words), run.stderr


def test_progress_for_programs_is_json_lines(tmp_path: Path):
    source = dsl.write("AB", tmp_path / "source")
    events = [json.loads(line) for line in transferd(
        "copy", source, tmp_path / "target", "--progress", "json").stderr.splitlines()]  # fmt: skip

    assert [event["task"] for event in events] == ["disk copy", "disk verify"]
    assert all(event["done"] == event["total"] == 2 * MiB for event in events)


def _wait_for_bytes(path: Path) -> None:
    wait_until(lambda: path.exists() and path.stat().st_blocks > 0, 30)


@pytest.fixture
def small_file_system(tmp_path: Path):
    """A tmpfs of 8 MiB."""
    yield from _mounted(tmp_path / "small", ["-t", "tmpfs", "-o", "size=8m", "tmpfs"])


@pytest.fixture
def read_only_folder(tmp_path: Path):
    yield from _mounted(tmp_path / "read-only", ["-t", "tmpfs", "-o", "ro", "tmpfs"])


def _mounted(folder: Path, arguments: list[str]):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir()
    subprocess.run(["mount", *arguments, str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
