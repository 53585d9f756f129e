"""`transferd copy` between files, block devices and NBD servers, judged by the bytes it leaves.

What it does when something fails is in tests/faults, a test for each row of the fault matrix.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, refused, transferd, wait_until
from transferd.units import MiB

TAIL = 3 * 512  # disks end on a sector, hardly ever on a block


def copied(*arguments: object, result: Path) -> dict:
    """The disk's result of a copy that must end well."""
    run = transferd("copy", *arguments, "--result", result)
    assert run.returncode == 0, run.stderr
    return json.loads(result.read_text())["disks"][0]


@pytest.mark.parametrize(
    "disk", ["A", "-", "0", "A0-B", "----A---", "-A" * 6, "ABCDEFGHIJ", "--------------"]
)
def test_a_new_file_becomes_the_disk_and_stays_sparse(tmp_path: Path, disk):
    source = dsl.write(disk, tmp_path / "source", tail=TAIL)
    target = tmp_path / "target"

    done = copied(source, target, result=tmp_path / "result.json")
    proof = done["verify"]

    assert source.read_bytes() == target.read_bytes()
    assert target.stat().st_blocks * 512 <= sum(kind not in "0-" for kind in disk) * MiB + 64 * 1024
    assert transferd("digest", source).stdout.strip() == done["digest"]
    assert done["skipped_bytes"] == done["zero_bytes"] == sum(kind in "0-" for kind in disk) * MiB
    assert proof["blocks"] == -(-(len(disk) * MiB + TAIL) // (4 * MiB))
    assert (proof["mode"], proof["mismatched"], proof["healed"]) == ("target", 0, 0)


@pytest.mark.parametrize("disk", ["A0-B", "----", "-A0" * 5])
def test_a_block_device_with_old_bytes_reads_as_the_disk_and_keeps_what_lies_behind_it(
    tmp_path: Path, loop_device, disk
):
    source = dsl.write(disk, tmp_path / "source", tail=TAIL)
    size = source.stat().st_size
    device = loop_device(size + 2 * MiB)

    assert transferd("copy", source, device, "--journal", tmp_path / "journal").returncode == 0
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
    target = tmp_path / "target"

    done = copied(server.uri, target, result=tmp_path / "result.json")

    assert source.read_bytes() == target.read_bytes()
    assert done["data_bytes"] == (source.stat().st_size if filters else 12 * MiB + TAIL)
    assert done["read_bytes"] == done["data_bytes"] + done["verify"]["audited_bytes"]


def test_extents_are_asked_before_the_first_read_and_several_reads_are_in_flight(tmp_path: Path, nbd_server):
    source = dsl.write("AB-C" * 4, tmp_path / "source")
    log = tmp_path / "log"
    server = nbd_server(
        "--filter=log", "--filter=delay", "file", str(source), f"logfile={log}", "rdelay=50ms"
    )

    depth = ("--queue-depth", 8, "--connections", 1)
    assert transferd("copy", server.uri, tmp_path / "target", *depth).returncode == 0
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


def test_a_target_in_a_missing_folder_is_refused(tmp_path: Path):
    source = dsl.write("A", tmp_path / "source")

    refused(transferd("copy", source, tmp_path / "no" / "target"), 5, "No such file", "create the folder")


def test_a_larger_file_is_not_cut_short(tmp_path: Path):
    source = dsl.write("A", tmp_path / "source")
    target = dsl.write("XY", tmp_path / "target")

    refused(transferd("copy", source, target), 5, "already holds")
    assert dsl.content("XY") == target.read_bytes()


def test_two_copies_to_one_target_are_refused(tmp_path: Path, nbd_server):
    source = dsl.write("ABCD", tmp_path / "source")
    server = nbd_server("--filter=delay", "file", str(source), "rdelay=3")
    target = tmp_path / "target"
    with subprocess.Popen(argv("copy", server.uri, target, "--connections", 1)) as first:
        wait_until(target.exists, 30)

        refused(transferd("copy", source, target), 5, "another copy")

        assert first.wait(timeout=60) == 0


def test_a_device_needs_a_place_for_its_journal(tmp_path: Path, loop_device):
    source = dsl.write("A", tmp_path / "source")
    device = loop_device(MiB)

    refused(transferd("copy", source, device), 2, "journal", "--journal FILE or --state DIR")
    assert b"\xa5" * MiB == device.read_bytes()


def test_a_state_folder_takes_the_journal(tmp_path: Path):
    source = dsl.write("A", tmp_path / "source")
    (tmp_path / "state").mkdir()

    assert transferd("copy", source, tmp_path / "target", "--state", tmp_path / "state").returncode == 0
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["disk.journal"]
    assert not (tmp_path / "target.journal").exists()


def test_a_finished_copy_is_brought_up_to_date_when_it_is_made_again(tmp_path: Path):
    source = dsl.write("ABCD-EFG0HIJ", tmp_path / "source")
    target = tmp_path / "target"
    copied(source, target, result=tmp_path / "first.json")
    with target.open("r+b") as file:  # somebody wrote to what was proven
        file.seek(5 * MiB)
        file.write(b"changed")

    again = copied(source, target, result=tmp_path / "again.json")

    assert source.read_bytes() == target.read_bytes()
    assert (again["resumed_blocks"], again["written_bytes"]) == (0, 3 * MiB)
    assert again["digest"] == transferd("digest", source).stdout.strip()


def test_a_journal_of_another_disk_is_refused_and_fresh_begins_anew(tmp_path: Path):
    source, other = (dsl.write(disk, tmp_path / disk) for disk in ("AB", "CD"))
    target = tmp_path / "target"
    copied(source, target, result=tmp_path / "result.json")

    refused(transferd("copy", other, target), 2, "about another copy", "source inode", "--fresh")
    assert source.read_bytes() == target.read_bytes()
    assert transferd("copy", other, target, "--fresh").returncode == 0
    assert other.read_bytes() == target.read_bytes()


@pytest.mark.parametrize(
    ("mode", "on_target", "from_source"),
    [("none", 0, 0), ("target", 4, 0), ("sample:30", 4, 2), ("sample:30%", 4, 2), ("full", 4, 4)],
)
def test_a_copy_is_proven_as_far_as_was_asked(tmp_path: Path, mode, on_target, from_source):
    source = dsl.write("A" * 13 + "-", tmp_path / "source")

    proof = copied(source, tmp_path / "target", "--verify", mode, result=tmp_path / "result.json")["verify"]

    assert (proof["blocks"], proof["source_blocks"]) == (on_target, from_source)


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
        (["copy", "source", "/"], ["folder"]),
        (["copy", "empty", "target"], ["0 bytes"]),
        (["copy", "source", "target", "--request-size", "7"], ["request-size"]),
        (["copy", "source", "target", "--verify", "maybe"], ["verify"]),
        (["copy", "source", "target", "--verify", "sample:0"], ["sample:PCT"]),
        (["copy", "source", "target", "--patience", "0.1s"], ["patience"]),
        (["copy", "source", "target", "--bandwidth", "1KiB"], ["bandwidth"]),
        (["copy", "source", "target", "--journal", "j", "--state", "."], ["one of them"]),
        (["copy", "source", "target", "--journal", "source"], ["--journal", "same file"]),
        (["copy", "source", "target", "--journal", "."], ["folder"]),
        (["copy", "source", "target", "--state", "nowhere"], ["no such folder"]),
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
    said = transferd("copy", source, tmp_path / "target", "--progress", "json").stderr
    events = [json.loads(line) for line in said.splitlines()]

    assert [event["task"] for event in events] == ["disk copy", "disk verify"]
    assert all(event["done"] == event["total"] == 2 * MiB for event in events)
