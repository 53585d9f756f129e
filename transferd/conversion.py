"""Conversion as a child process: `python -m convert`, with documents in and out, a deadline, no credentials.

The converter parses what a guest left on its disks; it never runs inside the process that holds the vCenter
session. Its result document is the only thing read back.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from transferd import config, errors
from transferd.errors import ConversionError, Error
from transferd.model import BlockBus, ConversionResult
from transferd.state import State, write_text

log = structlog.get_logger()

DEADLINE = 1800.0  # s; a conversion takes seconds, two minutes without KVM
STOP_DEADLINE = 60.0  # s to end in order after SIGTERM: an appliance has to be shut down

KINDS = {
    kind.exit_code: kind
    for kind in (
        errors.UsageError, errors.AuthenticationError, errors.SourceError, errors.TargetError,
        errors.IntegrityError, errors.ConversionError, errors.Cancelled,
    )
}  # fmt: skip


async def convert(disks: list[Path], state: State, *, required: bool) -> ConversionResult:
    """Convert the copied disks in place.

    Without `required`, a VM that holds no operating system, or one whose VirtIO cannot be proven, comes
    back unconverted, with the reason among its warnings. Everything else that fails is raised.
    """
    state.conversion.mkdir(exist_ok=True)
    result = state.conversion / "result.json"
    result.unlink(missing_ok=True)
    code, said = await _run(
        "apply", *map(str, disks), "--source", str(state.source), "--result", str(result),
        "--state", str(state.conversion),
    )  # fmt: skip
    if not result.exists():
        raise _failure(code, said)
    converted = config.load(result, ConversionResult)
    if code == 0:
        return converted
    message = str((converted.error or {}).get("message") or said)
    tolerable = not converted.guest.found or converted.caps.block is BlockBus.SATA
    if code != ConversionError.exit_code or required or not tolerable:
        raise _failure(code, message)
    return converted


async def manifest(request: str, converted: ConversionResult, state: State) -> None:
    """Write the VirtualMachine manifest. `request` is a ManifestRequest as JSON."""
    wanted, result = state.folder / "manifest-request.json", state.folder / "manifest-result.json"
    write_text(wanted, request)
    state.write(result, converted)
    code, said = await _run(
        "manifest", "--source", str(state.source), "--result", str(result),
        "--request", str(wanted), "--output", str(state.manifest),
    )  # fmt: skip
    if code != 0:
        raise _failure(code, said)


def _failure(code: int, message: str) -> Error:
    return KINDS.get(code, Error)(message.removeprefix("transferd-convert: error: "))


async def _run(*arguments: str) -> tuple[int, str]:
    """Exit code and last line of `python -m convert`. -P: never import `convert` from the current folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "convert", *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    last = "it said nothing"
    try:
        async with asyncio.timeout(DEADLINE):
            assert process.stderr is not None  # noqa: S101 (opened with PIPE; tells mypy)
            async for line in process.stderr:
                last = line.decode(errors="replace").strip() or last
                log.debug("convert", said=last)
            return await process.wait(), last
    except TimeoutError as error:
        raise ConversionError(f"not done within {DEADLINE:.0f} s", operation=arguments[0]) from error
    finally:
        await asyncio.shield(_stop(process))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_DEADLINE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
