"""`transferd worker`: a migration in stages, each a process of its own, as pods do it."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from blake3 import blake3

from tests import dsl
from tests.cli import refused, started, transferd, wait_until
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.line import MANIFEST, NAME
from transferd import last_words
from transferd.errors import Fenced
from transferd.fence import Fence
from transferd.limits import Permit
from transferd.model import Result

DISK = "ABC-DE--F0GH"


class Stages:
    """One migration's state directory, and its stages as an operator's controller would ask for them."""

    def __init__(self, folder: Path, vsphere: VSphere) -> None:
        self.folder = folder
        self.vsphere = vsphere
        self.target = folder / "targets" / "disk0.img"
        self.target.parent.mkdir()
        self.state = folder / "state"
        self.epoch = 0
        vsphere.write_vcenter_yaml(folder / "vcenter.yaml")

    def spec(self, stage: str, number: int = 0, **more) -> Path:
        self.epoch += 1
        document = {
            "schema": 1, "vcenter": "vcenter.yaml", "vm": {"name": NAME}, "mode": "warm",
            "targetDir": "targets", "state": "state", "convert": "none",
            "manifest": MANIFEST | {"claims": MANIFEST["claims"][:1]},
            "stage": stage, "round": number, "epoch": self.epoch, "attempt": 1,
        }  # fmt: skip
        path = self.folder / f"{stage}.yaml"
        path.write_text(yaml.safe_dump(document | more))
        return path

    def run(self, stage: str, number: int = 0, **more):
        return transferd("worker", "--spec", self.spec(stage, number, **more))

    def ok(self, stage: str, number: int = 0, **more) -> dict:
        done = self.run(stage, number, **more)
        assert done.returncode == 0, done.stderr
        last = done.stdout.strip().splitlines()[-1]
        return json.loads(last.removeprefix(last_words.MARK))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "disk.img", tail=512)


@pytest.fixture
def stages(tmp_path: Path, image: Path) -> Iterator[Callable[..., Stages]]:
    with ExitStack() as running:

        def start(**more) -> Stages:
            vm = VM(NAME, disks=[Disk(image)], nics=[Nic("00:50:56:01:02:03")], powered_on=True)
            vsphere = running.enter_context(VSphere(tmp_path, [vm], shutdown_delay=0.2, **more))
            folder = tmp_path / "migration"
            folder.mkdir()
            return Stages(folder, vsphere)

        yield start


def unconverted(stages: Stages) -> None:
    """What a converter leaves that had nothing to do."""
    folder = stages.state / "conversion"
    folder.mkdir(exist_ok=True)
    caps = {"block": "sata", "net": "e1000e", "firmware": "bios"}
    (folder / "result.json").write_text(
        json.dumps({"schema": 1, "outcome": "ok", "guest": {"found": False}, "caps": caps})
    )


def test_the_stages_one_after_another_are_a_migration(stages):
    migration = stages()
    vsphere = migration.vsphere
    migration.ok("probe")
    migration.ok("round", 0)
    vsphere.write(NAME, 0, 70_000, b"written after the first round")
    migration.ok("round", 1)
    vsphere.write(NAME, 0, 5_000_000, b"written after the second round")
    assert vsphere.power_state(NAME) == "on"
    migration.ok("cutover", 2)
    unconverted(migration)
    sealed = migration.ok("seal", 2)

    assert vsphere.flat_file(NAME).read_bytes() == migration.target.read_bytes()
    assert sealed["digest_converted"] == [sealed["disks"][0]["digest"]]
    assert vsphere.power_state(NAME) == "off"
    assert vsphere.snapshots(NAME) == []


def test_an_attempt_that_ended_is_answered_and_not_done_again(stages):
    migration = stages()
    first = migration.ok("round", 0)
    calls = migration.vsphere.calls().get("CreateSnapshot_Task", 0)

    assert migration.ok("round", 0) == first
    assert migration.vsphere.calls().get("CreateSnapshot_Task", 0) == calls


def test_a_round_out_of_turn_is_refused(stages):
    refused(stages().run("round", 3), 2, "round 3", "0 is next")


def test_cleanup_after_a_cutover_that_was_killed_gives_the_source_its_power_back(stages):
    migration = stages(latency_us=20_000)
    migration.ok("round", 0)
    migration.vsphere.write(NAME, 0, 0, bytes(range(256)) * 16384)
    with started("worker", "--spec", migration.spec("cutover", 1)) as running:
        wait_until(lambda: migration.vsphere.power_state(NAME) == "off")
        running.send_signal(signal.SIGKILL)
    migration.ok("cleanup")

    assert migration.vsphere.power_state(NAME) == "on"
    assert migration.vsphere.snapshots(NAME) == []
    migration.ok("cutover", 1, attempt=2)
    assert migration.vsphere.flat_file(NAME).read_bytes() == migration.target.read_bytes()


def test_an_older_attempt_is_refused_and_changes_nothing(stages):
    migration = stages()
    migration.ok("probe")
    old = migration.spec("round", 0)
    migration.ok("probe", attempt=2)

    refused(transferd("worker", "--spec", old), 9, "taken over")
    assert not any(migration.target.read_bytes())


def test_an_attempt_that_is_overtaken_while_it_copies_writes_no_further(stages):
    migration = stages(latency_us=50_000)
    with started("worker", "--spec", migration.spec("round", 0)) as running:
        wait_until((migration.state / "epoch").exists)
        (migration.state / "epoch").write_text("99\n")
        _, said = running.communicate(timeout=60)

    assert running.returncode == 9, said
    assert "taken over" in said
    assert migration.vsphere.snapshots(NAME) == []


def test_the_termination_message_fits_and_names_the_result(stages, tmp_path: Path):
    migration = stages()
    log = tmp_path / "termination"
    done = transferd("worker", "--spec", migration.spec("probe"), "--termination-log", log)
    result = done.stdout.strip().splitlines()[-1].removeprefix(last_words.MARK)

    assert json.loads(log.read_text())["result_blake3"] == blake3(result.encode()).hexdigest()
    refused(transferd("worker", "--spec", migration.spec("round", 9), "--termination-log", log), 2, "is next")
    assert json.loads(log.read_text())["error"]["exit_code"] == 2


def test_a_long_error_is_cut_to_fit():
    error = {"kind": "SourceError", "exit_code": 4, "message": "\u00e4\U0001f600" * 4000}
    text = last_words.message(Result(outcome="failed", error=error))

    assert len(text.encode()) <= last_words.LONGEST
    assert json.loads(text)["error"]["exit_code"] == 4


def test_two_attempts_at_once_are_one_too_many(tmp_path: Path):
    with Fence(tmp_path, 1), pytest.raises(Fenced, match="at work"), Fence(tmp_path, 2):
        pass


def test_a_permit_is_looked_at_after_a_pause_and_whenever_it_is_told_to():
    looks: list[int] = []
    permit = Permit(lambda: looks.append(1))
    for _ in range(3):
        permit.require()
    permit.require(now=True)

    assert len(looks) == 2
