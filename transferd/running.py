"""How a command runs: on uvloop, cancelled by signals, its result written whatever happens.

The owner of uvloop, in the place of `__main__`, which only lists the commands.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
import uvloop

from transferd import entry
from transferd.errors import Cancelled
from transferd.progress import Mode

if TYPE_CHECKING:
    from transferd.model import Result
    from transferd.vddk import Access

T = TypeVar("T")

VCenterFile = Annotated[Path | None, typer.Option("--vcenter", help="vcenter.yaml: read a vSphere disk.")]
ResultFile = Annotated[Path | None, typer.Option("--result", help="Write the result document here.")]
ProgressMode = Annotated[Mode, typer.Option("--progress", help="How to show progress, on stderr.")]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on uvloop. SIGINT and SIGTERM cancel it, so that every context closes in order."""

    async def cancellable() -> T:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(cancellable())
    except asyncio.CancelledError:
        raise Cancelled("stopped by a signal", remedy="run the same command again to go on") from None


def with_result(path: Path | None, work: Callable[[], Result]) -> Result:
    """`work`'s result, written to `path`; when it fails, a failed one is, before the error goes on."""
    try:
        result = work()
    except Exception as failure:
        if path is not None:
            write_result(path, failed(failure))
        raise
    if path is not None:
        write_result(path, result)
    return result


def write_result(path: Path, result: Result) -> None:
    from transferd.state import write_text  # noqa: PLC0415

    write_text(path, result.to_json())


def failed(failure: Exception) -> Result:
    from transferd.model import Result  # noqa: PLC0415

    return Result(outcome="failed", error=entry.as_error(failure).as_document())


async def access(vcenter: Path, stack: AsyncExitStack) -> Access:
    from transferd import config, logs, vddk  # noqa: PLC0415 (pyVmomi: only where vSphere is spoken to)
    from transferd.vsphere import session as vsphere  # noqa: PLC0415

    logs.set_up()
    settings = config.vcenter(vcenter)
    password = partial(config.password, settings)
    session = await stack.enter_async_context(vsphere.connect(settings, password))
    return vddk.Access(session, settings, password)
