"""The commands of whole VMs: inventory, migrate, worker."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferd.crew import in_thread
from transferd.errors import UsageError
from transferd.progress import Mode, Progress, show
from transferd.running import ProgressMode, ResultFile, access, failed, run, with_result

if TYPE_CHECKING:
    from transferd.model import MigrationSpec, Result

LONGEST_NAME = 200  # bytes; file systems allow 255, and 80 characters of a VM's name may be 320


def inventory(
    vcenter: Annotated[Path, typer.Option("--vcenter", help="vcenter.yaml")],
    vm: Annotated[str | None, typer.Option("--vm", help="Only this VM, in full.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The SourceVM document(s).")] = False,
) -> None:
    """List VMs, or show one VM's disks and NICs."""
    from transferd import report  # noqa: PLC0415
    from transferd.model import VMRef  # noqa: PLC0415

    async def read() -> list[Any]:
        async with AsyncExitStack() as stack:
            session = (await access(vcenter, stack)).session
            if vm is not None:
                return [await in_thread(session.read_vm, VMRef(name=vm))]
            return await in_thread(session.vms)

    report.inventory(run(read()), one=vm is not None, as_json=as_json)


def migrate(
    spec: Annotated[Path, typer.Argument(metavar="MIGRATION.YAML")],
    state: Annotated[Path | None, typer.Option(help="State directory. Default: ./transferd-NAME.")] = None,
    cutover: Annotated[
        str | None, typer.Option(help="In the place of the spec's: now, signal or a time with its zone.")
    ] = None,
    downtime_target: Annotated[
        str | None, typer.Option(help="In the place of the spec's: cut over when less is predicted.")
    ] = None,
    rehearse: Annotated[
        bool | None,
        typer.Option("--rehearse/--no-rehearse", help="Boot the converted guest on overlays beforehand."),
    ] = None,
    cutover_anyway: Annotated[
        bool, typer.Option("--cutover-anyway", help="Even if the rehearsal failed.")
    ] = False,
    progress: ProgressMode = Mode.AUTO,
    result: ResultFile = None,
) -> None:
    """Move a whole VM, cold or warm: copy and prove every disk, shut down, convert, write its manifest."""
    from transferd import report  # noqa: PLC0415 (rich and vSphere: not for a plain copy)

    def work() -> Result:
        with show(progress) as shown:
            more = _Overrides(cutover, downtime_target, rehearse, cutover_anyway)
            return run(_migrate(spec, state, more, shown))

    report.migration(with_result(result, work))


@dataclass(frozen=True)
class _Overrides:
    """What the command line says in the place of migration.yaml; None or False: nothing."""

    cutover: str | None
    downtime_target: str | None
    rehearse: bool | None
    anyway: bool

    def on(self, spec: MigrationSpec) -> MigrationSpec:
        precopy, rehearsal = spec.precopy, spec.rehearsal
        if self.downtime_target is not None:
            precopy = precopy.model_copy(update={"downtime_target": self.downtime_target})
        if self.anyway:
            rehearsal = rehearsal.model_copy(update={"anyway": True})
        chosen = spec.rehearse if self.rehearse is None else self.rehearse
        cutover = self.cutover or spec.cutover
        return spec.model_copy(
            update={"precopy": precopy, "rehearsal": rehearsal, "rehearse": chosen, "cutover": cutover}
        )


async def _migrate(path: Path, folder: Path | None, overrides: _Overrides, shown: Progress) -> Result:
    from transferd import config  # noqa: PLC0415
    from transferd.fence import Fence  # noqa: PLC0415
    from transferd.migrate import migrate as run_migration  # noqa: PLC0415
    from transferd.model import MigrationSpec  # noqa: PLC0415
    from transferd.state import State  # noqa: PLC0415

    spec = overrides.on(config.migration(path, MigrationSpec))
    name = spec.vm.name or spec.vm.moref or spec.vm.instance_uuid or ""
    chosen = folder or (Path(spec.state) if spec.state else None) or Path(f"transferd-{_file_name(name)}")
    async with AsyncExitStack() as stack:
        opened = await access(Path(spec.vcenter), stack)
        kept = State(chosen)
        stack.enter_context(Fence(kept.folder, None))
        return await run_migration(spec, opened, kept, shown)


def _file_name(name: str) -> str:
    """Two names may become the same one: a state directory knows which VM it is of."""
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "vm"
    return plain.encode()[:LONGEST_NAME].decode(errors="ignore")


def worker(
    spec: Annotated[Path, typer.Option("--spec", help="What to do: a migration's spec for one stage.")],
    state: Annotated[Path | None, typer.Option(help="State directory, in the place of the spec's.")] = None,
    termination_log: Annotated[
        Path | None, typer.Option("--termination-log", help="Write how it ended here, in 3 KiB at most.")
    ] = None,
    progress: ProgressMode = Mode.PLAIN,
) -> None:
    """Do one stage of a migration: probe, round, cutover, seal or cleanup. For pods."""
    from transferd import last_words  # noqa: PLC0415

    def leave(result: Result) -> None:
        print(last_words.line(result))
        if termination_log is not None:
            last_words.leave(termination_log, result)

    try:
        with show(progress) as shown:
            result = run(_work(spec, state, shown))
    except Exception as failure:
        leave(failed(failure))
        raise
    leave(result)


async def _work(path: Path, folder: Path | None, shown: Progress) -> Result:
    from transferd import config  # noqa: PLC0415
    from transferd.model import WorkerSpec  # noqa: PLC0415
    from transferd.state import State  # noqa: PLC0415
    from transferd.worker import work  # noqa: PLC0415

    spec = config.migration(path, WorkerSpec)
    chosen = folder or (Path(spec.state) if spec.state else None)
    if chosen is None:
        raise UsageError(f"{path}: state is missing", remedy="say where the migration's state is kept")
    async with AsyncExitStack() as stack:
        opened = await access(Path(spec.vcenter), stack)
        return await work(spec, opened, State(chosen), shown)
