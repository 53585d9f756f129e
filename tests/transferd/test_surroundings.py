"""Row B48 of the bad-input matrix: whatever surrounds the process, a copy is a copy."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, transferd
from tests.conftest import require

DEADLINE = 60.0  # s
NOBODY = 65534


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return dsl.write("A-B0", tmp_path / "source", tail=512)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.mark.parametrize(
    "surroundings",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "TERM": "dumb", "COLUMNS": "1"},
        {"LANG": "xx_XX.nonsense", "LC_ALL": "xx_XX.nonsense", "TZ": "Mars/Olympus"},
        {"COLUMNS": "nonsense", "PYTHONWARNINGS": "error"},
    ],
    ids=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items()),
)
def test_b48_locale_time_zone_and_home_do_not_matter(source, target, surroundings):
    kept = {name: value for name, value in os.environ.items() if name not in {"HOME", "LANG", "LC_ALL", "TZ"}}
    command = argv("copy", source, target)
    run = subprocess.run(
        command, env=kept | surroundings, capture_output=True, text=True, timeout=DEADLINE, check=False
    )

    assert run.returncode == 0, run.stderr
    assert target.read_bytes() == source.read_bytes()


def test_b48_a_name_that_is_no_text_is_a_name(tmp_path, source):
    target = Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xfe target\n\x1b[31m"))
    run = subprocess.run(
        argv("copy", source, target, "--result", tmp_path / "result"),
        env=os.environ | {"LC_ALL": "C"}, capture_output=True, timeout=DEADLINE, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert target.read_bytes() == source.read_bytes()
    assert b"\x1b" not in run.stdout + run.stderr


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_b48_closed_descriptors_never_end_up_in_the_disk(source, target, closed):
    """Whoever opens a file next gets the number of a closed one: what is then printed must not land in it."""
    command = argv("copy", source, target)

    def close() -> None:
        for number in closed:
            os.close(number)

    run = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=DEADLINE, check=False, preexec_fn=close,
    )  # fmt: skip

    assert run.returncode == 0
    assert target.read_bytes() == source.read_bytes()


def test_b48_nobody_reading_the_output_is_no_failure_of_the_copy(source, target):
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(argv("copy", source, target), stdout=writer, stderr=subprocess.PIPE,
                         text=True, timeout=DEADLINE, check=False)  # fmt: skip
    os.close(writer)

    assert "Traceback" not in run.stderr
    assert "Exception" not in run.stderr
    assert target.read_bytes() == source.read_bytes()


def test_b48_the_current_folder_need_not_be_writable(tmp_path, source, target):
    require("mount")
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "read-only"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=True)
    try:
        run = transferd("copy", source, target, cwd=folder)
    finally:
        subprocess.run(["umount", folder], check=True)

    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("uid", [NOBODY, 10**9])
def test_b48_any_user_may_copy_what_it_may_read(uid):
    """Containers run as whatever number the cluster chose; there is no such user, and no home."""
    require("setpriv")
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    made = subprocess.run(["mktemp", "--directory"], check=True, capture_output=True, text=True).stdout
    folder = Path(made.strip())
    try:
        source = dsl.write("A-B", folder / "source")
        os.chown(folder, uid, uid)
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
                   *argv("copy", source, folder / "target", "--result", folder / "result")]  # fmt: skip
        run = subprocess.run(
            command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True,
            timeout=DEADLINE, check=False, cwd="/",
        )  # fmt: skip
        if "No module named transferd" in run.stderr or "Permission denied" in run.stderr:
            pytest.skip("this user cannot read the checkout")

        assert run.returncode == 0, run.stderr
        assert (folder / "target").read_bytes() == source.read_bytes()
        assert (folder / "target").stat().st_uid == uid
    finally:
        subprocess.run(["rm", "-r", folder], check=True)
