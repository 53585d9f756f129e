"""Ending a child process in order: asked first, forced when it does not listen."""

from __future__ import annotations

import asyncio


async def stop(process: asyncio.subprocess.Process, patience: float) -> None:
    """SIGTERM, and SIGKILL after `patience` seconds. Returns when the process is gone."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
