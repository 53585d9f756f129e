"""Conversion as a child process: `python -m convert`, with documents in and out, a deadline, no credentials.

The converter parses what a guest left on its disks; it never runs inside the process that holds the vCenter
session. Its result document is the only thing read back.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from transferd import errors, process, units
from transferd.errors import ConversionError, Error
from transferd.model import ConversionResult, ManifestRequest, RehearsalWishes
from transferd.state import State, write_text
from transferd.units import MiB

DEADLINE = 1800.0  # s; a conversion takes seconds, without KVM two minutes, and its boot ten at most
STOP_DEADLINE = 60.0  # s to end in order after SIGTERM: an appliance has to be shut down

MAX_RESULT = 16 * MiB  # a range written takes 60 bytes, and a conversion writes tens of them
COMPLAINT = "transferd-convert: error: "
KINDS = {
    kind.exit_code: kind
    for kind in (
        errors.UsageError, errors.AuthenticationError, errors.SourceError, errors.TargetError,
        errors.IntegrityError, errors.ConversionError, errors.Cancelled, errors.RetriesExhausted,
    )
}  # fmt: skip


async def convert(
    disks: list[Path],
    state: State,
    *,
    required: bool,
    boot: RehearsalWishes | None = None,
    say: Callable[[str], None],
) -> ConversionResult:
    """Convert the copied disks in place; with `boot`, only after a boot of the converted guest.

    Without `required`, a VM that holds no operating system, or one that cannot be made to boot on VirtIO,
    comes back with outcome `failed` and its disks as they were: exit code 7 of the converter promises that.
    Everything else that fails is raised.
    """
    options, deadline = _boot(boot) if boot is not None else ([], DEADLINE)
    return await _apply(disks, state, state.conversion, options, deadline, say, required=required)


async def rehearse(
    disks: list[Path], state: State, wishes: RehearsalWishes, say: Callable[[str], None]
) -> ConversionResult:
    """Convert and boot overlays of the copied disks, which stay as they are. Failed if it does not boot."""
    options, deadline = _boot(wishes)
    options = [*options, "--overlay-only"]
    return await _apply(disks, state, state.rehearsal, options, deadline, say, required=False)


def _boot(wishes: RehearsalWishes) -> tuple[list[str], float]:
    """Options, and the deadline of the whole conversion."""
    options, deadline = ["--boot"], DEADLINE
    if wishes.timeout is not None:
        seconds = units.duration(wishes.timeout)
        options, deadline = [*options, f"--boot-timeout={seconds}"], DEADLINE + seconds
    if wishes.sentinel is not None:
        options = [*options, f"--boot-sentinel={wishes.sentinel}"]
    return options, deadline


async def _apply(
    disks: list[Path],
    state: State,
    folder: Path,
    options: list[str],
    deadline: float,
    say: Callable[[str], None],
    *,
    required: bool,
) -> ConversionResult:
    folder.mkdir(exist_ok=True)
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    code, said = await _run(
        say, "apply", *map(str, disks), "--source", str(state.source), "--result", str(result),
        "--state", str(folder), *options, deadline=deadline,
    )  # fmt: skip
    if not result.exists():
        raise _failure(code, said)
    converted = _read(result)
    if code == 0:
        return converted
    message = str((converted.error or {}).get("message") or said)
    if code != ConversionError.exit_code or required:
        raise _failure(code, message)
    return converted


def _read(path: Path) -> ConversionResult:
    """The converter's result. It comes from a process that parsed hostile bytes, so it is read strictly."""
    try:
        if path.stat().st_size > MAX_RESULT:
            raise ConversionError(f"{path} is larger than {MAX_RESULT} bytes", operation="read its result")
        return ConversionResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = f"{path} is no result document ({error.error_count()} faults)"
        raise ConversionError(problem, operation="read its result") from error


async def manifest(request: ManifestRequest, converted: ConversionResult, state: State) -> None:
    """Write the VirtualMachine manifest. UsageError for a claim or network that the request lacks."""
    wanted, result = state.folder / "manifest-request.json", state.folder / "manifest-result.json"
    write_text(wanted, request.model_dump_json(by_alias=True))
    state.write(result, converted)
    code, said = await _run(
        lambda _: None, "manifest", "--source", str(state.source), "--result", str(result),
        "--request", str(wanted), "--output", str(state.manifest),
    )  # fmt: skip
    if code != 0:
        raise _failure(code, said)


def _failure(code: int, message: str) -> Error:
    return KINDS.get(code, Error)(message.removeprefix(COMPLAINT))


async def _run(say: Callable[[str], None], *arguments: str, deadline: float = DEADLINE) -> tuple[int, str]:
    """Exit code and last line of `python -m convert`; the lines before it are its progress.

    setpriv (util-linux): the converter is told to stop when this process is killed. -P: `convert` is never
    imported from the current folder.
    """
    child = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig=TERM", sys.executable, "-P", "-m", "convert", *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    last = "it said nothing"
    try:
        async with asyncio.timeout(deadline):
            assert child.stderr is not None  # noqa: S101 (opened with PIPE; tells mypy)
            async for line in child.stderr:
                last = line.decode(errors="replace").strip() or last
                if not last.startswith(COMPLAINT):
                    say(f"  {last}")
            return await child.wait(), last
    except TimeoutError as error:
        raise ConversionError(f"not done within {deadline:.0f} s", operation=arguments[0]) from error
    finally:
        await asyncio.shield(process.stop(child, STOP_DEADLINE))
