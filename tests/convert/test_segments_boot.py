"""A real kernel unpacks what we append, whatever the image before it is packed with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from convert import cpio, initramfs
from convert.linux import segment
from convert.tree import digest
from tests.conftest import demand, require
from tests.convert.images import COMPRESSIONS
from tests.faults.machine_image import kernel

pytestmark = pytest.mark.boot

DEADLINE = 120.0
# Prints the names in the folder of proofs, and ends the machine.
INIT = r"""
#include <dirent.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>
int main(void) {
    DIR *folder = opendir("/proofs");
    for (struct dirent *entry; folder && (entry = readdir(folder));) printf("proof:%s:\n", entry->d_name);
    printf("done\n");
    fflush(stdout);
    reboot(RB_POWER_OFF);
    for (;;) pause();
}
"""
# The kernel's own table ends with legacy LZ4: it does not know the frame. LZ4 has no end, so it comes last.
ROW = [*(name for name in COMPRESSIONS if not name.startswith("lz4")), "lz4"]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> bytes:
    require("gcc", "qemu-system-x86_64")
    folder = tmp_path_factory.mktemp("init")
    (folder / "init.c").write_text(INIT)
    subprocess.run(
        ["gcc", "-static", "-O1", "-o", folder / "init", folder / "init.c"], check=True, timeout=60
    )
    return (folder / "init").read_bytes()


def proof(name: str) -> cpio.Entry:
    return cpio.file(f"proofs/{name.replace(' ', '-')}", b"")


def extended(folder: Path, name: str) -> bytes:
    """An image of one compression with our segment behind it, as the step makes it."""
    path = folder / "image"
    path.write_bytes(COMPRESSIONS[name](cpio.segment([proof(f"{name}-main")])))
    image = segment.Image(initramfs.listing(path), path.stat().st_size, digest(path.read_bytes()))
    return path.read_bytes() + segment.data([proof(f"{name}-ours")], image)


def test_a_kernel_finds_our_segment_behind_every_compression(program, tmp_path):
    base = [cpio.folder("proofs"), cpio.file("init", program, 0o755)]
    row = [cpio.segment(base), *(extended(tmp_path, name) for name in ROW)]
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"".join(part + cpio.padding(len(part), 512) for part in row[:-1]) + row[-1])

    said = booted(initrd)

    assert "Initramfs unpacking failed" not in said
    assert {part.split(":")[1] for part in said.split() if part.startswith("proof:")} >= {
        f"{name}-{whose}" for name in ROW for whose in ("main", "ours")
    }


def booted(initrd: Path) -> str:
    try:
        image = kernel()
    except LookupError as error:
        demand(str(error))
        raise
    argv = [
        *("qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-no-user-config", "-m", "512"),
        *("-sandbox", "on", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(image), "-initrd", str(initrd)),
        *("-append", "console=ttyS0 panic=-1 quiet loglevel=4"),
    ]
    done = subprocess.run(argv, capture_output=True, timeout=DEADLINE, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace")
