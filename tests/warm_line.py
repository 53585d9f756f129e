"""A warm migration of a VM that keeps writing, as the product's own command runs it, and its judge."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.doubles.vsphere import VSphere
from tests.line import MANIFEST, NAME, Job

DISK = "ABC-DE--F0GH" * 2
TAIL = 7 * 512


def warm(job: Job, vsphere: VSphere, disks: int = 1, **spec: object) -> Job:
    """Lay out the migration of a VM with so many disks, without conversion."""
    manifest = MANIFEST | {"claims": MANIFEST["claims"][:disks]}
    return job.write(vsphere, **{"mode": "warm", "convert": "none", "manifest": manifest} | spec)


def run(job: Job, **environment: str) -> subprocess.CompletedProcess[str]:
    return job.run(capture_output=True, env=os.environ | environment)


def judge(vsphere: VSphere, job: Job, disks: int = 1) -> dict:
    """It ended well: the target is the source, which is off, and nothing of ours is left on it."""
    result = json.loads(job.result.read_text())
    for number in range(disks):
        assert vsphere.flat_file(NAME, number).read_bytes() == job.targets[number].read_bytes()
    assert result["outcome"] == "ok"
    assert vsphere.power_state(NAME) == "off"
    assert vsphere.snapshots(NAME) == []
    return result


def rounds_of(job: Job) -> list[dict]:
    path: Path = job.state / "migration.json"
    return json.loads(path.read_text())["rounds"] if path.exists() else []
