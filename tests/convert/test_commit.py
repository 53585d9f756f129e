"""A conversion is on its disks whole, or not at all, whenever the machine stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from convert import commit, overlay
from tests.convert.memory import source
from transferd.errors import ConversionError, IntegrityError, UsageError
from transferd.model import Caps, ConversionResult, Firmware, Guest

pytestmark = pytest.mark.usefixtures("qemu_tools")

MIB = 1024 * 1024
RESULT = ConversionResult(outcome="ok", guest=Guest(found=True), caps=Caps.without_virtio(Firmware.BIOS))


@pytest.fixture
def disks(tmp_path):
    """Two disks of old bytes; neither size is a multiple of a qcow2 cluster."""
    made = []
    for number, size in enumerate((96 * MIB + 512, 8 * MIB + 1024)):
        disk = tmp_path / f"disk-{number}.raw"
        disk.write_bytes(b"o" * size)
        made.append(disk)
    return made


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "state" / "convert"
    folder.mkdir(parents=True)
    return folder


def written_overlays(disks, work, *writes: tuple[int, str]):
    """Overlays with `writes`: (disk, qemu-io command)."""
    made = overlay.create(disks, work)
    for number, command in writes:
        subprocess.run(
            ["qemu-io", "-f", "qcow2", "-c", command, str(made[number].path)], check=True, capture_output=True
        )
    return made


MANY = (
    (0, "write -P 0x6e 1M 80M"),
    (0, "write -z 90M 1M"),
    (0, "write -P 0x6e 96M 512"),
    (1, "write -P 0x6e 64K 64K"),
)


def expected(disks) -> list[bytes]:
    first, second = (bytearray(b"o" * disk.stat().st_size) for disk in disks)
    first[MIB : 81 * MIB] = b"n" * (80 * MIB)
    first[90 * MIB : 91 * MIB] = bytes(MIB)
    first[96 * MIB :] = b"n" * 512
    second[64 * 1024 : 128 * 1024] = b"n" * 64 * 1024
    return [bytes(first), bytes(second)]


def test_an_overlay_leaves_the_disk_alone(disks, work):
    before = [disk.read_bytes() for disk in disks]
    written_overlays(disks, work, *MANY)

    assert [disk.read_bytes() for disk in disks] == before


def test_the_header_that_a_guest_wrote_is_never_believed(tmp_path, work):
    """A raw disk that looks like a qcow2 image with a backing file stays a raw disk."""
    secret, disk = tmp_path / "secret", tmp_path / "disk.raw"
    secret.write_bytes(b"s" * MIB)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", disk], check=True)
    size = disk.stat().st_size // 512 * 512
    os.truncate(disk, size)
    (made,) = overlay.create([disk], work)

    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", "-U", made.path]))
    assert (info["virtual-size"], info["backing-filename-format"]) == (size, "raw")


def test_written_ranges_are_merged_and_end_with_the_disk(disks, work):
    made = written_overlays(disks, work, *MANY)

    assert [(r.disk, r.start, r.length) for each in made for r in overlay.written(each)] == [
        (0, MIB, 80 * MIB),
        (0, 90 * MIB, MIB),
        (0, 96 * MIB, 512),
        (1, 64 * 1024, 64 * 1024),
    ]


def test_a_commit_brings_every_written_byte_and_zero_to_its_disk(disks, work):
    record = commit.prepare(work, written_overlays(disks, work, *MANY), RESULT)
    result = commit.finish(work, record)

    assert [disk.read_bytes() for disk in disks] == expected(disks)
    assert sum(found.length for found in result.written) == 81 * MIB + 512 + 64 * 1024
    assert commit.read(work).done
    assert not list(work.glob("delta-*"))


def test_until_the_record_is_written_the_disks_are_untouched(disks, work):
    before = [disk.read_bytes() for disk in disks]
    commit.prepare(work, written_overlays(disks, work, *MANY), RESULT)

    assert [disk.read_bytes() for disk in disks] == before


def apply(disks, work) -> subprocess.Popen:
    document = work.parent / "source.json"
    sizes = tuple(disk.stat().st_size for disk in disks)
    document.write_text(source(capacities=sizes).to_json())
    argv = [sys.executable, "-m", "convert", "apply", *disks, "--source", document, "--state", work.parent]
    return subprocess.Popen(
        [*map(str, argv), "--result", str(work.parent / "result.json")], stderr=subprocess.PIPE, text=True
    )


def test_a_commit_that_was_killed_is_completed_by_the_next_run(disks, work):
    commit.prepare(work, written_overlays(disks, work, *MANY), RESULT)
    killed = apply(disks, work)
    deadline = time.monotonic() + 60
    with disks[0].open("rb") as disk:
        while os.pread(disk.fileno(), 1, MIB) == b"o":
            assert time.monotonic() < deadline
            time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not commit.read(work).done

    again = apply(disks, work)
    _, said = again.communicate(timeout=60)

    assert again.returncode == 0, said
    assert [disk.read_bytes() for disk in disks] == expected(disks)
    result = ConversionResult.model_validate_json((work.parent / "result.json").read_text())
    assert result.outcome == "ok"
    assert result.written
    assert not list(work.glob("delta-*"))


def test_a_finished_commit_answers_again_with_its_result(disks, work):
    done = commit.finish(work, commit.prepare(work, written_overlays(disks, work, *MANY), RESULT))
    before = [disk.read_bytes() for disk in disks]

    again = apply(disks, work)
    _, said = again.communicate(timeout=60)

    assert again.returncode == 0, said
    assert ConversionResult.model_validate_json((work.parent / "result.json").read_text()) == done
    assert [disk.read_bytes() for disk in disks] == before


def test_the_record_of_disks_that_were_copied_anew_is_worthless(disks, work):
    record = commit.prepare(work, written_overlays(disks, work, *MANY), RESULT)
    commit.finish(work, record)
    disks[0].write_bytes(b"o" * disks[0].stat().st_size)

    assert not commit.holds(record)


def test_the_commit_of_other_disks_is_refused(disks, work):
    commit.prepare(work, written_overlays(disks, work, *MANY), RESULT)

    again = apply(disks[::-1], work)
    _, said = again.communicate(timeout=60)

    assert again.returncode == UsageError.exit_code
    assert "holds the commit of other disks" in said


def test_a_delta_that_was_damaged_is_an_integrity_error(disks, work):
    record = commit.prepare(work, written_overlays(disks, work, *MANY), RESULT)
    with (work / "delta-0.raw").open("r+b") as delta:
        delta.seek(2 * MIB)
        delta.write(b"x")

    with pytest.raises(IntegrityError, match="reads back different"):
        commit.finish(work, record)
    assert not commit.read(work).done


def test_a_record_that_cannot_be_read_is_named(work):
    (work / "commit.json").write_text("{}")

    with pytest.raises(ConversionError, match="is not a commit record"):
        commit.read(work)
