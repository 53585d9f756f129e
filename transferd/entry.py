"""The border of a process: every ending becomes an exit code and at most one line on stderr.

Beside `model` and `errors` the only module of transferd that `convert` and `control` import: the three
programs must end alike, and this is too little to be written three times.
"""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import typer

from transferd.errors import Cancelled, Error, UsageError


def run(app: typer.Typer, program: str) -> NoReturn:
    """Run `app` and exit. Tracebacks need --debug anywhere on the command line."""
    try:
        sys.exit(app(standalone_mode=False))
    except (Exception, KeyboardInterrupt) as failure:  # noqa: BLE001 (the border: every failure gets its line)
        if "--debug" in sys.argv:
            traceback.print_exception(failure)
        error = as_error(failure)
        print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def as_error(failure: BaseException) -> Error:
    """`failure` as one of ours; what nobody foresaw is an internal error."""
    match failure:
        case Error():
            return failure
        case typer.TyperException():
            return UsageError(failure.format_message(), remedy="see --help")
        case typer.Abort() | KeyboardInterrupt():
            return Cancelled("stopped")
        case _:
            problem = f"internal error: {type(failure).__name__}: {failure}"
            return Error(problem, remedy="run it with --debug and report this")
