"""A guest's folder is changed by an enemy while it is read: no answer may come from outside it.

A second process turns a file into a link to a secret and back, and a folder above it into a link to a
folder that holds the secret under the same name. Each round asks for both while that goes on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from convert.folder import Folder
from transferd.errors import UsageError

FULL = 10  # cases of a whole sweep
ROUNDS = 10_000  # of one case
MINE, SECRET = b"network: mine", b"network: secret"

FLIPPER = """
import os, sys
os.chdir(sys.argv[1])
while True:
    os.replace("file.link", "guest/etc/a.yaml")
    os.symlink("../../outside/a.yaml", "file.link")
    with open("file.new", "wb") as new:
        new.write(b"network: mine")
    os.replace("file.new", "guest/etc/a.yaml")
    os.rename("guest/usr", "usr.aside")
    os.rename("usr.link", "guest/usr")
    os.rename("guest/usr", "usr.link")
    os.rename("usr.aside", "guest/usr")
"""


def race(rounds: int) -> Counter[str]:
    """What the answers were. AssertionError if one of them is the secret."""
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        _plant(folder)
        argv = [sys.executable, "-c", FLIPPER, name]
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as flipper:
            try:
                seen = Counter(
                    _answer(Folder(folder / "guest"), path)
                    for _ in range(rounds)
                    for path in ("/etc/a.yaml", "/usr/a.yaml")
                )
                assert flipper.poll() is None, "the flipper ended"
            finally:
                flipper.kill()
    return seen


def _plant(folder: Path) -> None:
    for place, content in {"guest/etc": MINE, "guest/usr": MINE, "outside": SECRET}.items():
        (folder / place).mkdir(parents=True)
        (folder / place / "a.yaml").write_bytes(content)
    (folder / "outside/only-here").touch()
    (folder / "file.link").symlink_to("../../outside/a.yaml")
    (folder / "usr.link").symlink_to("../outside", target_is_directory=True)


def _answer(tree: Folder, path: str) -> str:
    """Refusing is an answer too: what changed under the reader was not read."""
    try:
        content, names = tree.tail(path, 100), tree.names(path.rpartition("/")[0])
    except UsageError:
        return "refused"
    assert content in (MINE, b""), content
    assert "only-here" not in names
    return "read" if content else "nothing there"


def repeat(_seed: int) -> None:
    race(ROUNDS)
