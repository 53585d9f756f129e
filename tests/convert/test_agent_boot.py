"""The guest agent that conversion unpacked answers its host, in the real Debian on the new hardware."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import boot
from tests.convert import packages
from tests.convert.memory import nic, source
from tests.guests import debian12
from transferd.model import ConversionResult

pytestmark = [pytest.mark.guestfs, pytest.mark.boot]

PATIENCE = 400.0
BOOT_DEADLINE = 240.0
# Any number: an answer with it is not one to an older question.
TOKEN = 5242


def test_the_agent_answers_after_the_first_boot(debian, tmp_path):
    guest = debian12.clone(debian, tmp_path)
    sizes = tuple(disk.stat().st_size for disk in guest.disks)
    (tmp_path / "source.json").write_text(source(nic(guest.mac, slot=guest.slot), capacities=sizes).to_json())
    given = ["--source", tmp_path / "source.json", "--state", tmp_path / "state"]
    given += ["--result", tmp_path / "result.json", "--guest-packages", packages.debian12()]
    argv = [sys.executable, "-m", "convert", "apply", *guest.disks, *given]
    done = subprocess.run(map(str, argv), capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.returncode == 0, done.stderr
    assert ConversionResult.model_validate_json((tmp_path / "result.json").read_text()).caps.agent
    with booted(guest, tmp_path / "agent") as channel:
        assert asked(channel, "guest-get-osinfo", time.monotonic() + BOOT_DEADLINE)["id"] == "debian"


@contextmanager
def booted(guest: debian12.Guest, channel: Path):
    """The guest on KubeVirt's hardware, with the port on which its agent listens."""
    port = [
        *("-device", "virtio-serial-pci,id=serial"),
        *("-chardev", f"socket,id=agent,path={channel},server=on,wait=off"),
        *("-device", "virtserialport,bus=serial.0,chardev=agent,name=org.qemu.guest_agent.0"),
    ]
    argv = boot.argv(guest.disks, boot.Hardware.VIRTIO, mac=guest.mac)
    with subprocess.Popen([*argv, *port], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as qemu:
        try:
            yield channel
        finally:
            qemu.kill()


def asked(channel: Path, question: str, deadline: float) -> dict:
    """The agent's answer, asked for until there is one."""
    while time.monotonic() < deadline:
        try:
            return _answer(channel, question)
        except (OSError, ValueError):  # nobody listens yet, or half of an older answer
            time.sleep(0.5)
    raise AssertionError(f"no answer to {question}")


def _answer(channel: Path, question: str) -> dict:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(channel))
        answers = link.makefile("rb")
        link.sendall(json.dumps({"execute": "guest-sync", "arguments": {"id": TOKEN}}).encode() + b"\n")
        while _next(answers) != TOKEN:
            pass
        link.sendall(json.dumps({"execute": question}).encode() + b"\n")
        return _next(answers)


def _next(answers) -> dict | int:
    line = answers.readline()
    if not line:
        raise ConnectionError("the port was closed")
    return json.loads(line)["return"]
