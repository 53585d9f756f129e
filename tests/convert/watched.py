"""The converter as its users run it, watched by strace and by libguestfs' own trace of its calls.

What a run may do is known: the programs it starts, the files it opens, the calls that it asks of its
appliance. `--seccomp-bpf` keeps strace out of all other system calls, so QEMU runs at its usual speed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convert.lifeline import children

# Four times what a conversion of a phony guest takes without KVM on two busy cores.
PATIENCE = 400.0
SEEN = "execve,execveat,mount,umount2,open,openat,openat2,socket,pivot_root,unshare,setns,init_module"
CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
TRACE = re.compile(r"^libguestfs: trace: (\w+) ?(.*)$")


def argv(command: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "convert", command, *map(str, arguments)]


def convert(command: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(command, *arguments),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | environment,
    )


def started(command: str, *arguments: object) -> subprocess.Popen[str]:
    """A run that the test interferes with; use as `with`."""
    return subprocess.Popen(argv(command, *arguments), stderr=subprocess.PIPE, text=True)


def until_it_says(run: subprocess.Popen[str], line: str) -> None:
    assert run.stderr is not None
    said = []
    for spoken in run.stderr:
        said.append(spoken)
        if spoken.rstrip("\n") == line:
            return
    raise AssertionError(f"it ended before it said {line}: {''.join(said)}")


def is_emulator(pid: int) -> bool:
    try:
        return b"qemu-system" in Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return False


def emulator(run: subprocess.Popen[str]) -> int:
    """The process id of the appliance of a run."""
    until = time.monotonic() + PATIENCE
    while not (found := [pid for pid in children(run.pid) if is_emulator(pid)]):
        assert run.poll() is None, "it ended without an appliance"
        assert time.monotonic() < until, "no appliance was started"
        time.sleep(0.05)
    return found[0]


def command_lines() -> Iterator[str]:
    """Of every process of this machine."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")


def is_gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends within so many seconds, by itself."""
    until = time.monotonic() + seconds
    while is_emulator(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


@dataclass(frozen=True)
class Watched:
    """One run: `calls` are (name, arguments) of system calls, `asked` those of libguestfs."""

    done: subprocess.CompletedProcess[str]
    calls: tuple[tuple[str, str], ...]
    asked: tuple[tuple[str, str], ...]

    @property
    def commands(self) -> list[list[str]]:
        """The argument list of each program that was started, or tried on the way along PATH."""
        return [
            [word.encode().decode("unicode_escape") for word in TEXT.findall(arguments.partition(", [")[2])]
            for name, arguments in self.calls
            if name in ("execve", "execveat")
        ]

    def named(self, *names: str) -> list[str]:
        """The arguments of each of these system calls."""
        return [arguments for name, arguments in self.calls if name in names]


def surroundings(folder: Path) -> dict[str, str]:
    """An environment in which whatever a run leaves behind is left in `folder`/tmp."""
    own = folder / "tmp"
    own.mkdir()
    # Where it is without us: it would follow TMPDIR, and the appliance would be built anew.
    cache = os.environ.get("LIBGUESTFS_CACHEDIR") or os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108
    return {"TMPDIR": str(own), "LIBGUESTFS_TMPDIR": str(own), "LIBGUESTFS_CACHEDIR": cache}


def watch(folder: Path, command: str, *arguments: object) -> Watched:
    log = folder / "strace.log"
    tracer = ("strace", "-f", "--seccomp-bpf", "-qq", "-s", "4096", "-o", str(log), "-e", f"trace={SEEN}")
    own = surroundings(folder) | {"LIBGUESTFS_TRACE": "1"}
    done = subprocess.run(
        [*tracer, *argv(command, *arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | own,
    )
    calls = [match.groups() for line in _lines(log) if (match := CALL.match(line))]
    asked = [match.groups() for line in done.stderr.splitlines() if (match := TRACE.match(line))]
    asked = [(name, arguments) for name, arguments in asked if not arguments.startswith("= ")]
    return Watched(done, tuple(calls), tuple(asked))


def _lines(log: Path) -> list[str]:
    return log.read_text("utf-8", "backslashreplace").splitlines()
