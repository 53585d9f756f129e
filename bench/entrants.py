"""Who takes part: the command of every tool, as its own users give it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.race import Entrant


class Serving(Protocol):
    """An nbdkit that runs: what tests.nbd and tests.doubles.vddk both give."""

    uri: str

    @property
    def process(self) -> "HasPid": ...


class HasPid(Protocol):
    @property
    def pid(self) -> int: ...


def module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def transferd(source: Serving, *options: str, name: str = "transferd") -> Entrant:
    def argv(target: Path) -> Sequence[str]:
        return module("transferd", "copy", source.uri, target, "--progress", "none", *options)

    return Entrant(name, argv, source.process.pid)


def nbdcopy(source: Serving, name: str = "nbdcopy") -> Entrant:
    return Entrant(name, lambda target: ["nbdcopy", "--flush", source.uri, str(target)], source.process.pid)


def qemu_img(source: Serving, size: int) -> Entrant:
    """`--target-is-zero`, because the target is: without it qemu-img zeroes what is zero."""
    options = ["-n", "-W", "-t", "none", "--target-is-zero", "-f", "raw", "-O", "raw"]

    def argv(target: Path) -> Sequence[str]:
        return ["qemu-img", "convert", *options, source.uri, str(target)]

    return Entrant("qemu-img", argv, source.process.pid, size=size)


def cdi(source: Serving) -> Entrant:
    return Entrant("CDI model", lambda target: module("bench.cdi", source.uri, target), source.process.pid)


def serial(source: Serving, areas: Path) -> Entrant:
    def argv(target: Path) -> Sequence[str]:
        return module("bench.serial", source.uri, target, areas)

    return Entrant("serial model", argv, source.process.pid)


def direct(size: int) -> Entrant:
    return Entrant("raw write", lambda target: module("bench.direct", target, size), size=size, copies=False)


def io_model(source: Serving, model: str, *, connections: int, request: int, depth: int) -> Entrant:
    command = module("bench.io_models", model, source.uri, connections, request, depth)
    return Entrant(model, lambda _: command, source.process.pid, writes=False, copies=False)
