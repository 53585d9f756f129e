"""The border of a process: every ending becomes an exit code and at most one line on stderr.

Beside `model` and `errors` the only module of transferd that `convert` and `control` import: the three
programs must end alike, and this is too little to be written three times.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import typer

from transferd.errors import Cancelled, Error, UsageError

LIMITS = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}


def run(app: typer.Typer, program: str) -> NoReturn:
    """Run `app` and exit. Tracebacks need --debug anywhere on the command line."""
    fill_standard_descriptors()
    try:
        command = typer.main.get_command(app)
        refuse_repeated(command, sys.argv[1:])
        sys.exit(command(standalone_mode=False))
    except (Exception, KeyboardInterrupt) as failure:  # noqa: BLE001 (the border: every failure gets its line)
        if "--debug" in sys.argv:
            traceback.print_exception(failure)
        error = as_error(failure)
        print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def fill_standard_descriptors() -> None:
    """Open /dev/null where the caller closed stdin, stdout or stderr.

    Else the next file opened, perhaps a disk, would take that number and be printed to.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def refuse_repeated(command: Any, arguments: list[str]) -> None:
    """UsageError for an option given twice with different values: only one of them would be obeyed."""
    known = {name: option for option in _options(command) for name in (*option.opts, *option.secondary_opts)}
    seen: dict[str, str] = {}
    for number, argument in enumerate(arguments):
        if argument == "--":
            return
        name, given, value = argument.partition("=")
        option = known.get(name)
        if option is None or option.multiple:
            continue
        if option.is_flag:
            value = name
        elif not given:
            value = "".join(arguments[number + 1 : number + 2])
        if seen.setdefault(option.name, value) != value:
            raise UsageError(
                f"{name}: given twice, as {seen[option.name]} and as {value}", remedy="give it once"
            )


def _options(command: Any) -> Iterator[Any]:
    """Options of a command and of those below it."""
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield parameter
    for below in getattr(command, "commands", {}).values():
        yield from _options(below)


def _limit_behind(failure: BaseException | None) -> OSError | None:
    """The limit of this machine that a library stumbled over, perhaps while it was failing already."""
    while failure is not None:
        if isinstance(failure, OSError) and failure.errno in LIMITS:
            return failure
        failure = failure.__cause__ or failure.__context__
    return None


def as_error(failure: BaseException) -> Error:
    """`failure` as one of ours; what nobody foresaw is an internal error."""
    match failure:
        case Error():
            return failure
        case typer.TyperException():
            return UsageError(failure.format_message(), remedy="see --help")
        case typer.Abort() | KeyboardInterrupt():
            return Cancelled("stopped")
        case _ if (limit := _limit_behind(failure)) is not None:
            return UsageError(f"this machine's limits: {limit.strerror}", remedy="raise them: ulimit -n, -u")
        case _:
            problem = f"internal error: {type(failure).__name__}: {failure}"
            return Error(problem, remedy="run it with --debug and report this")
