"""The rules of the code base that a machine can check: who imports whom, how long things get, what is banned.

Import contracts are data in pyproject.toml; sizes and bans are CONTRIBUTING's.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("transferd", "convert", "control")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SCRIPTS = sorted({*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")})
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

FILE_LINES = 450
FUNCTION_LINES = 60

# Calls that hand a string to a shell.
SHELLS = {
    ("os", "system"),
    ("os", "popen"),
    ("subprocess", "getoutput"),
    ("subprocess", "getstatusoutput"),
    ("asyncio", "create_subprocess_shell"),
}

# Spelt apart, so that this file has none of them.
BANNED = {
    "a path of one machine": re.compile(r"(?<![\w.$}/-])/" + r"work/|/tmp/" + r"w/"),
    "an unfinished thought": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"),
    "a choice of package registry": re.compile(r"--(?:extra-)?index-" + r"url|--trusted-" + r"host"),
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_keep_their_contracts():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--config", ROOT / "pyproject.toml", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PROJECT["project"]["scripts"])
def test_a_console_script_leads_to_a_function(name: str):
    module, _, function = PROJECT["project"]["scripts"][name].partition(":")

    assert callable(getattr(importlib.import_module(module), function))


def test_every_package_is_in_the_distribution():
    folders = {relative(path.parent).replace("/", ".") for path in SOURCES}

    assert sorted(folders) == sorted(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_file_can_be_read_in_one_sitting(path: Path):
    text = path.read_text()
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES]

    assert len(text.splitlines()) <= FILE_LINES
    assert long == []


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_no_command_goes_through_a_shell(path: Path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]

    assert [call.lineno for call in calls if uses_shell(call)] == []


def uses_shell(call: ast.Call) -> bool:
    asked = any(
        keyword.arg == "shell"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        for keyword in call.keywords
    )
    match call.func:
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return asked or (module, name) in SHELLS
        case _:
            return asked


@pytest.mark.parametrize("name", BANNED)
def test_no_file_of_the_repository_has(name: str):
    found = []
    for path in repository():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # an image or an archive: no words in it
        lines = text.splitlines()
        found += [f"{relative(path)}:{i}" for i, line in enumerate(lines, 1) if BANNED[name].search(line)]

    assert found == []


def repository() -> list[Path]:
    """What is, or would be, committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]
