"""Runs one program of the host on behalf of the guest builder: argv only, a deadline, one line on failure."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from transferd.errors import UsageError

# Sizes and error texts are parsed and shown: they must not depend on the operator's language.
PLAIN = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}

# An ordinary user's PATH lacks the folders of sfdisk, mke2fs and debugfs, which need no privileges here.
SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def run(
    *argv: str | Path, deadline: float, stdin: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Standard output. `deadline` in seconds; the program dies with us."""
    program = argv[0]
    try:
        done = subprocess.run(
            ["setpriv", "--pdeathsig=KILL", *map(str, argv)],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline,
            check=False,
            env={**os.environ, **PLAIN, "PATH": SEARCH_PATH, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{program} was not done after {deadline:.0f} s") from None
    if done.returncode != 0:
        last_words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise UsageError(f"{program} failed with status {done.returncode}: {' | '.join(last_words)}")
    return done.stdout
