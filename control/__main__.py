"""The command line of the controller: `transferd-controller`, or `python -m control`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from control import admission, document
from transferd import entry

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def controller(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Applies what a migration made to the cluster, after looking at it."""


@app.command()
def admit(
    manifest: Annotated[Path, typer.Argument(help="VirtualMachine manifest, YAML.")],
    name: Annotated[str, typer.Option(help="The name that the VM must have.")],
    namespace: Annotated[str, typer.Option(help="The namespace that it must be in.")],
    claim: Annotated[list[str] | None, typer.Option(help="A PVC that it uses; one for each disk.")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="A network that it may use: `pod` or `namespace/name`.")
    ] = None,
) -> None:
    """Say whether a manifest asks for nothing but what its migration was given."""
    grant = admission.Grant(name, namespace, frozenset(claim or ()), frozenset(network or ()))
    admission.admit(document.read(manifest), grant)
    print(f"admitted: VirtualMachine {namespace}/{name}")


def main() -> NoReturn:
    entry.run(app, "transferd-controller")


if __name__ == "__main__":
    main()
