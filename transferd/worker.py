"""One stage of a migration, as a pod does it: the functions that `transferd migrate` calls, one at a time.

    probe     read the VM, look at the targets; nothing is changed
    round     one round while the VM runs
    cutover   shut the VM down, copy what is left; the VM stays off
    seal      after a converter, elsewhere, has had the disks: prove that it wrote only what it lists
    cleanup   remove our snapshots, give the source its power back if the cutover did not end well

What happened before is in the state directory, so a stage begins where the last attempt at it stopped. An
attempt that ended is not done again: asked for once more, it answers with the same result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from transferd import migrate, rounds
from transferd.errors import UsageError
from transferd.fence import Fence
from transferd.journey import Stage
from transferd.limits import Permit
from transferd.model import ConversionResult, Result, WorkerSpec
from transferd.progress import Progress
from transferd.rounds import Line
from transferd.state import State
from transferd.vddk import Access


async def work(spec: WorkerSpec, access: Access, state: State, progress: Progress) -> Result:
    """Do the stage. Fenced if a newer attempt has begun."""
    answered = state.stage(spec.stage, spec.round, spec.attempt)
    with Fence(state.folder, spec.epoch) as fence:
        if answered.exists():
            return state.read(answered, ConversionResult if spec.stage == "seal" else Result)
        permit = Permit(fence.check)
        permit.require(now=True)
        line = await migrate.begin(spec, access, state, progress, permit)
        result = await STAGES[spec.stage](spec, line)
        permit.require(now=True)
        state.write(answered, result)
        return result


async def _probe(spec: WorkerSpec, line: Line) -> Result:
    await migrate.probe(spec, line)
    return Result(outcome="ok")


async def _round(spec: WorkerSpec, line: Line) -> Result:
    done = [each for each in line.journey.now.rounds if each.copied]
    if spec.round < len(done):  # done by an attempt that did not live to say so
        return Result(outcome="ok")
    if spec.round > len(done):
        raise UsageError(
            f"round {spec.round} was asked for, {len(done)} is next", vm=line.vm.name, operation="round"
        )
    return Result(outcome="ok", disks=await migrate.precopy_round(line))


async def _cutover(spec: WorkerSpec, line: Line) -> Result:
    async with migrate.source_off(spec, line):
        return Result(outcome="ok", disks=await migrate.last_round(spec, line))


async def _seal(spec: WorkerSpec, line: Line) -> Result:
    if line.journey.now.stage not in {Stage.CONVERSION, Stage.DONE}:
        raise UsageError("there is nothing to seal before the cutover", vm=line.vm.name, operation="seal")
    state = line.state
    converted = state.read(state.conversion / "result.json", ConversionResult)
    sealed = await migrate.sealed(spec, line, converted, await migrate.last_round(spec, line))
    line.journey.update(stage=Stage.DONE)
    return sealed


async def _cleanup(_spec: WorkerSpec, line: Line) -> Result:
    await rounds.remove_all(line)
    if line.journey.now.stage is not Stage.DONE and line.journey.now.power is not None:
        await migrate.retreat(line)
    return Result(outcome="ok")


STAGES: dict[str, Callable[[WorkerSpec, Line], Awaitable[Result]]] = {
    "probe": _probe,
    "round": _round,
    "cutover": _cutover,
    "seal": _seal,
    "cleanup": _cleanup,
}
