"""One conversion of a guest full of VMware's leftovers, judged by its disk and by dpkg."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.convert import packages, phony
from tests.guests.tools import run
from transferd.model import ConversionResult

pytestmark = pytest.mark.guestfs

PATIENCE = 400.0
DISPLAY = 'Section "Device"\n\tDriver "{}"\nEndSection\n'
LEFTOVERS: phony.Files = {
    **packages.database(),
    "/etc/init.d/vmware-tools": "#!/bin/sh\n",
    "/etc/rc2.d/S03vmware-tools": phony.Link("../init.d/vmware-tools"),
    "/etc/rc0.d/K08vmware-tools": phony.Link("../init.d/vmware-tools"),
    "/etc/runlevels/default/open-vm-tools": phony.Link("/etc/init.d/open-vm-tools"),
    "/etc/fstab": "/dev/sda1 / ext4 errors=remount-ro 0 1\n.host:/ /mnt/hgfs vmhgfs defaults 0 0\n",
    "/etc/modprobe.d/local.conf": "blacklist virtio_net\n",
    "/etc/X11/xorg.conf": DISPLAY.format("vmware"),
    "/usr/lib/xorg/modules/drivers/modesetting_drv.so": b"\x7fELF",
}


@dataclass(frozen=True)
class Converted:
    """`root`: the guest's files, as they are on its disk now."""

    result: ConversionResult
    root: Path

    def text(self, path: str) -> str:
        return (self.root / path).read_text()


@pytest.fixture(scope="module")
def converted(appliance, tmp_path_factory) -> Converted:  # noqa: ARG001 (it converts)
    folder = tmp_path_factory.mktemp("leftovers")
    disk = phony.make(folder / "disk.raw", phony.debian(**LEFTOVERS))
    source, result, root = (
        phony.document(folder / "source.json", disk),
        folder / "result.json",
        folder / "root",
    )
    given = ["--source", source, "--result", result, "--state", folder / "state"]
    argv = [sys.executable, "-m", "convert", "apply", disk, *given, "--guest-packages", packages.debian12()]
    done = subprocess.run(map(str, argv), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    root.mkdir()
    run("debugfs", "-R", f"rdump / {root}", f"{disk}?offset={phony.ROOT.start}", deadline=120)
    return Converted(ConversionResult.model_validate_json(result.read_text()), root)


def test_dpkg_finds_the_agent_installed_on_the_disk_and_nothing_wrong(converted):
    names = ("qemu-guest-agent", "liburing2", "libnuma1")

    assert "\nii  qemu-guest-agent" in packages.dpkg(converted.root, "--list", *names)
    assert packages.dpkg(converted.root, "--verify", *names) == ""
    assert converted.result.caps.agent


def test_the_agent_can_be_run(converted):
    done = subprocess.run(
        [converted.root / "usr/sbin/qemu-ga", "--version"], capture_output=True, check=False
    )

    assert done.stdout.startswith(b"QEMU Guest Agent ")


def test_vmwares_service_does_not_start(converted):
    etc = converted.root / "etc"

    assert sorted(path.name for path in (etc / "rc2.d").iterdir()) == [
        "K08vmware-tools",
        "S01qemu-guest-agent",
    ]
    assert not (etc / "runlevels/default/open-vm-tools").is_symlink()
    assert str((etc / "systemd/system/open-vm-tools.service").readlink()) == "/dev/null"


def test_what_was_in_the_way_is_out_of_it(converted):
    assert "vmhgfs defaults,noauto,nofail 0 0\n" in converted.text("etc/fstab")
    assert converted.text("etc/modprobe.d/local.conf") == "# blacklist virtio_net\n"
    assert converted.text("etc/X11/xorg.conf") == DISPLAY.format("modesetting")


def test_the_result_tells_what_was_overruled(converted):
    assert "virtio-was-blocked" in {warning.code for warning in converted.result.warnings}
