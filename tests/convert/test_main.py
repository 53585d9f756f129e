"""The command line: one line for what is wrong, the right exit code, and a result document all the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from convert import accel
from convert.files import locked
from tests.convert.memory import nic, source
from transferd.model import ConversionResult

SIZE = 1024 * 1024


def convert(*arguments, timeout: float = 60) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "convert", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "source.json"
    path.write_text(source(nic(), capacities=(SIZE,)).to_json())
    return path


def edited(document, **fields):
    content = json.loads(document.read_text()) | fields
    document.write_text(json.dumps(content))
    return document


def refused(*arguments) -> str:
    done = convert("plan", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("transferd-convert: error: ")
    return done.stderr


def test_a_misspelt_field_is_named_with_its_file(disk, document):
    assert f"{document}: frimware: Extra inputs" in refused(
        disk, "--source", edited(document, frimware="bios")
    )


def test_a_wrong_type_is_named_with_its_place(disk, document):
    assert "cpus: Input should be a valid integer" in refused(disk, "--source", edited(document, cpus="two"))


def test_a_document_of_another_schema_is_refused(disk, document):
    assert "schema: Input should be 1" in refused(disk, "--source", edited(document, schema=2))


def test_a_mac_that_is_none_is_refused(disk, document):
    nics = json.loads(document.read_text())["nics"]
    nics[0]["mac"] = '00:50:56:00:00:01", NAME="eth0'

    assert "nics.0.mac" in refused(disk, "--source", edited(document, nics=nics))


def test_no_json_at_all_is_refused(disk, document):
    document.write_text("\x1b[31mred")

    assert "Invalid JSON" in refused(disk, "--source", document)


def test_a_missing_document_is_refused(disk, tmp_path):
    assert "No such file" in refused(disk, "--source", tmp_path / "none.json")


def test_fewer_disks_than_the_vm_has_are_refused(disk, document):
    disks = json.loads(document.read_text())["disks"] * 2

    assert "lists 2 disks and 1 were given" in refused(disk, "--source", edited(document, disks=disks))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda _: None, "No such file"),
        (lambda path: path.mkdir(), "neither a raw disk image nor a block device"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
        (lambda path: path.write_bytes(bytes(700)), "has 700 bytes"),
    ],
    ids=["missing", "folder", "empty", "no whole sectors"],
)  # fmt: skip
def test_what_is_no_disk_is_refused(tmp_path, document, make, problem):
    path = tmp_path / "no-disk"
    make(path)

    assert problem in refused(path, "--source", document)


def test_an_unknown_option_is_a_usage_error(disk, document):
    assert "--sauce" in refused(disk, "--sauce", document)


def test_apply_writes_a_failed_result_whatever_was_wrong(disk, document, tmp_path):
    result = tmp_path / "result.json"
    done = convert(
        "apply", disk, disk, "--source", document, "--result", result, "--state", tmp_path / "state"
    )

    told = ConversionResult.model_validate_json(result.read_text())
    assert done.returncode == 2
    assert told.outcome == "failed"
    assert told.error["exit_code"] == 2
    assert not told.guest.found
    assert (told.caps.block, told.caps.net) == ("sata", "e1000e")


def test_two_conversions_of_one_state_are_refused(disk, document, tmp_path):
    state, result = tmp_path / "state", tmp_path / "result.json"
    with locked(state / "convert"):
        done = convert("apply", disk, "--source", document, "--result", result, "--state", state)

    assert done.returncode == 2
    assert "another conversion is using" in done.stderr


@pytest.mark.parametrize(
    ("script", "verdict"),
    [("echo '[ 0.0] Linux version 6.1'", True), ("echo 'Booting from ROM..'", False), ("exit 1", False)],
    ids=["speaks", "stops in the firmware", "fails"],
)
def test_kvm_is_believed_only_if_a_kernel_speaks(tmp_path, script, verdict):
    emulator = tmp_path / "emulator"
    emulator.write_text(f"#!/bin/sh\n{script}\n")
    emulator.chmod(0o755)

    assert accel.speaks(str(emulator), tmp_path / "vmlinuz") is verdict
