"""`--progress` in all its forms, as whoever started the copy sees it: on stderr, beside the result."""

import errno
import io
import json
import os
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, transferd
from transferd.progress import Json, Plain
from transferd.stats import Sample
from transferd.units import MiB

DISK = "ABCD----EF00" * 4
SIZE = len(DISK) * MiB


@pytest.fixture
def ends(tmp_path: Path) -> list[Path]:
    return [dsl.write(DISK, tmp_path / "source"), tmp_path / "target"]


def lines_of(run: subprocess.CompletedProcess[str]) -> list[dict]:
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stderr.splitlines()]


def test_json_is_a_line_a_step_with_every_number_of_a_sample(ends):
    steps = [line for line in lines_of(transferd("copy", *ends, "--progress", "json")) if "task" in line]

    assert steps
    for step in steps:
        assert set(step) == {"task", "done", "total", "rate"} | {field.name for field in fields(Sample)}
        assert all(
            isinstance(value, int | float) and value >= 0 for name, value in step.items() if name != "task"
        )


def test_json_tells_once_of_each_task_that_all_of_it_is_done(ends):
    steps = [line for line in lines_of(transferd("copy", *ends, "--progress", "json")) if "task" in line]
    ended = [step for step in steps if step["done"] == step["total"]]

    assert [(step["task"], step["total"]) for step in ended] == [("disk copy", SIZE), ("disk verify", SIZE)]
    assert ended[-1]["settled"] == ended[-1]["verified"] == SIZE
    assert ended[0]["read"] <= ended[-1]["read"]


def test_json_never_goes_back(ends):
    run = transferd("copy", *ends, "--progress", "json", "--bandwidth", "8MiB")
    steps = [step for step in lines_of(run) if step.get("task") == "disk copy"]

    assert len(steps) > 2
    for name in ("done", "at", "read", "written", "durable"):
        assert [step[name] for step in steps] == sorted(step[name] for step in steps)


def test_json_also_tells_what_is_said_between(ends):
    transferd("copy", *ends)

    said = [line["say"] for line in lines_of(transferd("copy", *ends, "--progress", "json")) if "say" in line]

    assert any("the copy was finished before" in text for text in said)


def test_plain_is_a_line_for_each_task_that_a_log_can_keep(ends):
    run = transferd("copy", *ends, "--progress", "plain")

    assert run.returncode == 0
    for task in ("disk copy", "disk verify"):
        assert re.search(rf"^{task}: 48 MiB of 48 MiB, 100 %, [\d.]+ [KMG]iB/s$", run.stderr, re.MULTILINE)
    assert len(run.stderr.splitlines()) == 2


def test_where_there_is_no_terminal_progress_is_plain(ends):
    assert "disk copy: 48 MiB of 48 MiB" in transferd("copy", *ends).stderr


def test_nothing_to_verify_is_no_task(ends):
    assert "verify:" not in transferd("copy", *ends, "--verify", "none").stderr


def test_none_is_nothing(ends):
    run = transferd("copy", *ends, "--progress", "none")

    assert (run.returncode, run.stderr) == (0, "")


def test_on_a_terminal_there_are_bars(ends):
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(argv("copy", *ends), stdout=subprocess.PIPE, stderr=theirs, env=environment) as run:
        os.close(theirs)
        shown = read_to_end(ours)
        assert run.wait(timeout=60) == 0
    final = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines()

    for task in ("disk copy", "disk verify"):
        assert [line for line in final if re.search(rf"{task}\s*━+.*(50\.3/50\.3 MB|48\.0/48\.0 MiB)", line)]
    assert "Traceback" not in shown
    assert "\x1b[?25h" in shown, "the cursor is hidden for ever"


def read_to_end(terminal: int) -> str:
    """What is written to a terminal until nobody has it open any more."""
    shown = b""
    try:
        while part := os.read(terminal, 1 << 16):
            shown += part
    except OSError as error:
        if error.errno != errno.EIO:  # how Linux says that the other side is closed
            raise
    finally:
        os.close(terminal)
    return shown.decode()


@pytest.mark.parametrize("form", [Plain, Json])
def test_a_hostile_name_moves_no_cursor_and_makes_no_line(form):
    out = io.StringIO()
    form(out).task("web\x1b[2J\n{}\u202e", 10).update(10, Sample())
    form(out).say("said\r\x1b]0;x\x07")

    assert out.getvalue().isascii()
    assert all(line.isprintable() for line in out.getvalue().splitlines())
    assert len(out.getvalue().splitlines()) == 2
