"""A guest that an enemy has made, and one conversion of it that was watched: many rows of the security table
look at the same run, because a launch is what it costs.

Its first disk converts; its texts are commands, terminal sequences and markup, and its own tools would leave
a mark if anything ran them. Its second disk is raw and looks like a qcow2 image backed by a secret.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.convert import phony
from tests.convert.watched import Watched, watch
from transferd.model import ConversionResult

SECRET = b"root:$y$j9T$secret:19000:0:99999:7:::\n" * 2000
MARK = "/was-run"
TOOL = f"#!/bin/sh\ntouch {MARK}\n"
RELEASE = (
    b'ID=$(reboot)\nVERSION_ID="<img src=x onerror=alert(1)>"\n'
    b'PRETTY_NAME="\x1b]0;owned\x07\x1b[2J\xff\xe2\x80\xae Phony `id`"\nNAME=\'a: b\n'
)
PRODUCT = r"\x1b]0;owned\x07\x1b[2J\udcff\u202e Phony `id`"
UUID = "5a3c9f0e-0000-4000-8000-00000000000b"
FSTAB = b"/dev/sda1 / ext4 defaults 0 1\n/dev/disk/by-id/\x1b[31mred\xff /srv/\xfe ext4 nofail 0 0\n"


@dataclass(frozen=True)
class Moved:
    """`before`: the second disk as it was."""

    folder: Path
    disks: list[Path]
    secret: Path
    before: bytes
    run: Watched

    @property
    def result(self) -> ConversionResult:
        return ConversionResult.model_validate_json((self.folder / "result.json").read_text())

    @property
    def command(self) -> list[str]:
        return command(self.folder, self.disks)


def convert(folder: Path) -> Moved:
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    disks = [phony.make(folder / "root.raw", files(secret)), _disguised(folder / "data.raw", secret)]
    phony.document(folder / "source.json", *disks)
    before = disks[1].read_bytes()
    return Moved(folder, disks, secret, before, watch(folder, *command(folder, disks)))


def command(folder: Path, disks: list[Path]) -> list[str]:
    document, result, state = (str(folder / name) for name in ("source.json", "result.json", "state"))
    return ["apply", *map(str, disks), "--source", document, "--result", result, "--state", state]


def files(secret: Path) -> phony.Files:
    tools = (
        "/usr/sbin/update-initramfs",
        "/usr/bin/sh",
        "/usr/sbin/update-grub",
        "/usr/bin/dpkg",
        "/usr/bin/dracut",
    )
    return phony.debian(
        **{
            "/etc/os-release": RELEASE,
            "/etc/fstab": FSTAB,
            "/etc/hostname": '";reboot;"\n',
            **dict.fromkeys(tools, TOOL),
            **no_files(secret),
        }
    )


def no_files(secret: Path) -> phony.Files:
    """What stands where files and folders are looked for."""
    strange = os.fsdecode(b"\xff\xfe")
    return {
        "/etc/hosts": phony.FIFO,
        "/etc/crypttab": phony.Link("/etc/crypttab"),
        "/etc/netplan": phony.Link("netplan"),
        "/etc/sysconfig": phony.Link("/../../.."),
        "/etc/lvm": phony.FIFO,
        "/etc/dracut.conf.d": phony.ENDLESS,
        "/etc/mdadm": phony.Link(strange),
        "/etc/adjtime": phony.ENDLESS,
        "/etc/kernel": phony.Link("/dev/sda"),
        "/etc/default/grub.d/x.cfg": phony.Link(str(secret)),
        "/etc/udev/rules.d/70-persistent-net.rules": phony.Link(str(secret)),
        "/etc/udev/rules.d/71-x.rules": phony.ENDLESS,
        "/etc/network/interfaces.d/x": phony.FIFO,
        f"/etc/network/interfaces.d/{strange}": "iface pwned inet dhcp\n",
        f"/boot/vmlinuz-{strange}": "MZ",
        f"/boot/{strange}": phony.Link(strange),
    }


def _disguised(disk: Path, secret: Path) -> Path:
    """Whole sectors of a qcow2 image whose content is the secret's."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", disk], check=True)
    content = disk.read_bytes()
    disk.write_bytes(content + bytes(-len(content) % 512))
    return disk
