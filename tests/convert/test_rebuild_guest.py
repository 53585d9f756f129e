"""The guest's own tool in a real appliance: a program of the guest runs there, and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from convert import cpio
from tests.conftest import require
from tests.convert import phony
from tests.convert.watched import convert
from tests.guests import disk
from transferd.model import ConversionResult

pytestmark = pytest.mark.guestfs

IMAGE = f"/boot/initrd.img-{phony.KERNEL}"
# What a tool does, seen from outside: many words, and a new image or an error.
TOOL = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int count, char **words) {
    if (count != 4 || strcmp(words[1], "-u") || strcmp(words[3], VERSION)) return 9;
    FILE *made = fopen("/var/made", "rb"), *image = fopen("/boot/initrd.img-" VERSION, "wb");
    if (!made || !image) {
        fprintf(stderr, "I: generating\nE: nothing to make it of\n");
        return 3;
    }
    for (int byte; (byte = getc(made)) != EOF;) putc(byte, image);
    puts("done");
    return fclose(image);
}
"""


@pytest.fixture(scope="module")
def tool(tmp_path_factory, appliance) -> bytes:  # noqa: ARG001 (a tool runs in an appliance)
    require("gcc")
    folder = tmp_path_factory.mktemp("tool")
    (folder / "tool.c").write_text(TOOL)
    define = f'-DVERSION="{phony.KERNEL}"'
    argv = ["gcc", "-static", define, "-o", str(folder / "tool"), str(folder / "tool.c")]
    subprocess.run(argv, check=True, timeout=60)
    return (folder / "tool").read_bytes()


def made() -> bytes:
    """The image that the tool makes: VirtIO and a loader of it."""
    paths = [
        line.partition(":")[0] for line in str(phony.debian()[f"{phony.MODULES}/modules.dep"]).splitlines()
    ]
    modules = [cpio.file(f"lib/modules/{phony.KERNEL}/{path}", b"\x7fELF") for path in paths]
    return cpio.segment([cpio.folder("lib"), cpio.file("lib/systemd/systemd-udevd", b"\x7fELF"), *modules])


def rebuilt(folder: Path, tool: bytes, **files: bytes) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A guest whose NIC has no name to keep, converted by its own tool."""
    image, tree = folder / "root.raw", folder / "tree"
    different = {"/etc/network/interfaces": None, "/usr/sbin/update-initramfs": tool, **files}
    phony.plant(tree, {path: data for path, data in phony.debian(**different).items() if data is not None})
    (tree / "usr/sbin/update-initramfs").chmod(0o755)
    disk.create(image, phony.SIZE, [phony.ROOT], disk_id="0x12d3b1a2")
    disk.fill(image, phony.ROOT, tree, uuid=phony.UUID)
    source = phony.document(folder / "source.json", image)
    words = ("--source", source, "--result", folder / "result.json", "--state", folder / "state")
    return image, convert("apply", image, *words, "--rebuild-initramfs")


def result(folder: Path) -> ConversionResult:
    return ConversionResult.model_validate_json((folder / "result.json").read_text())


def test_the_image_that_the_guests_tool_makes_is_proven_and_kept(tool, tmp_path):
    image, run = rebuilt(tmp_path, tool, **{"/var/made": made()})

    assert run.returncode == 0, run.stderr
    assert disk.read(image, phony.ROOT, IMAGE) == made()
    assert [check.ok for check in result(tmp_path).checks if "drives VirtIO" in check.name] == [True]


def test_a_tool_that_fails_leaves_the_disk_as_it_was(tool, tmp_path):
    image, run = rebuilt(tmp_path, tool)

    assert run.returncode == 7
    assert "update-initramfs -u -k" in run.stderr
    assert "E: nothing to make it of" in run.stderr
    assert disk.read(image, phony.ROOT, IMAGE) == phony.debian()[IMAGE]
