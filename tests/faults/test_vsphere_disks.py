"""Disks of every shape through a warm migration: controllers, odd ends, growth, 62 TiB, nothing at all."""

import os
import tempfile
import time
from itertools import cycle
from pathlib import Path

from tests import dsl
from tests.cli import ended, peak_memory
from tests.doubles.inventory import find_vm, virtual_disks
from tests.doubles.vsphere import Disk
from tests.line import NAME
from tests.warm_line import (
    BY_HAND,
    DISK,
    TAIL,
    cut_over,
    judge,
    migrating,
    rounds_of,
    run,
    target,
    wait_for_round,
    world,
)
from transferd.plan import BLOCK
from transferd.units import GiB, KiB, MiB

TiB = 1024 * GiB
CONTROLLERS = ("pvscsi", "lsilogic", "lsilogic-sas", "buslogic")
SIZES = (512, 4 * KiB, BLOCK - 512, BLOCK, BLOCK + 4 * KiB, 2 * BLOCK + MiB + 512)
RESIDENT = 300 * MiB  # of the process, for a disk of 62 TiB


def sparse(path: Path, size: int, *data: tuple[int, bytes]) -> Path:
    """A file of holes, and this data at these places."""
    with path.open("wb") as file:
        file.truncate(size)
        for start, content in data:
            file.seek(start)
            file.write(content)
    return path


def test_disks_of_several_controllers_and_sizes_arrive_each_on_its_own_target(tmp_path: Path):
    images = [sparse(tmp_path / f"{size}.img", size, (0, b"%d" % size), (size - 1, b"z")) for size in SIZES]
    disks = [Disk(image, kind) for image, kind in zip(images, cycle(CONTROLLERS), strict=False)]
    with world(tmp_path, disks, BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        with vsphere.connect() as service:
            sizes = [disk.capacityInBytes for disk in virtual_disks(find_vm(service, NAME))]
        for number, size in enumerate(sizes):
            vsphere.write(NAME, number, size - 512, os.urandom(512))
        cut_over(running)

        assert sorted(sizes) == sorted(SIZES)
        judge(vsphere, job, len(disks))


def test_a_round_in_which_nothing_changed_reads_nothing(tmp_path: Path, record_property):
    image = dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)
    with world(tmp_path, [Disk(image)] * 2, {"precopy": {"rounds": 2}}) as (vsphere, job):
        done = run(job)
        first, *others = rounds_of(job)

        assert done.returncode == 0, done.stderr
        judge(vsphere, job, disks=2)
        assert first["read_bytes"] > 0
        assert [each["read_bytes"] for each in others] == [0, 0]
        record_property("seconds to copy nothing of two disks", [each["copy_s"] for each in others])


def test_a_disk_of_holes_alone_is_not_begun_anew_in_every_round(tmp_path: Path):
    image = sparse(tmp_path / "disk.img", 64 * MiB + 512)
    with world(tmp_path, [Disk(image)], {"precopy": {"rounds": 2}}) as (vsphere, job):
        done = run(job)

        assert done.returncode == 0, done.stderr
        judge(vsphere, job)
        assert [each["read_bytes"] for each in rounds_of(job)[1:]] == [0, 0]


def test_a_round_needs_no_more_room_than_what_it_writes(tmp_path: Path):
    """A thin disk that is larger than the file system of its thin target."""
    size = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize + GiB // 512 * 512
    image = sparse(tmp_path / "disk.img", size // 512 * 512, (0, b"A" * MiB))
    with world(tmp_path, [Disk(image)], {"verify": "none"}) as (vsphere, job):
        done = run(job)

        assert done.returncode == 0, done.stderr
        judge(vsphere, job)


def test_f20_a_disk_that_grows_over_128_gib_between_rounds_arrives_whole(tmp_path: Path):
    image = sparse(tmp_path / "disk.img", 8 * MiB + 512, (MiB, b"A" * MiB))
    size = 130 * GiB + 512
    with (
        world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job),
        migrating(job) as running,
    ):
        wait_for_round(job, 0)
        vsphere.grow(NAME, 0, size)
        for at in (0, 8 * MiB, 128 * GiB - 4 * KiB, size - 512):
            vsphere.write(NAME, 0, at, b"\xee" * 512)
        cut_over(running)

        judge(vsphere, job)
        assert target(job).stat().st_size == size


def test_a_disk_of_62_tib_is_migrated_in_one_piece_and_little_memory(record_property):
    """In memory, so that file systems with smaller limits do not matter."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        size, data = 62 * TiB + 512, os.urandom(70_000)
        image = sparse(
            Path(folder, "disk.img"), size, (0, data), (31 * TiB + 5, data), (size - len(data), data)
        )
        with world(Path(folder), [Disk(image)]) as (vsphere, job):
            began = time.monotonic()
            with migrating(job) as running:
                most = peak_memory(running)
                done = ended(running)
            seconds = time.monotonic() - began

            assert done.returncode == 0, done.stderr
            judge(vsphere, job)
            record_property("seconds", seconds)
            record_property("peak bytes", most)
            assert most < RESIDENT
