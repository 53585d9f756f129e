"""Documents on the host: read strictly, written so that they survive a crash whole or not at all."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from transferd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENT_LIMIT = 16 * 1024 * 1024
Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, model: type[Model]) -> Model:
    """A document, YAML by its suffix, else JSON. UsageError names the file and its first bad field."""
    raw = _bounded(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            return model.model_validate(_yaml(path, raw))
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(f"{path}: {field}: {first['msg']}", remedy="correct the file") from error


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(DOCUMENT_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy="give the path of the document") from error
    if len(raw) > DOCUMENT_LIMIT:
        raise UsageError(f"{path}: more than {DOCUMENT_LIMIT} bytes", remedy="give the path of the document")
    return raw


def _yaml(path: Path, raw: bytes) -> Any:
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {error}", remedy="correct the file") from error


def write_durably(path: Path, content: str) -> None:
    """Replaces `path` in one step; when this returns, the content is on the storage."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", remedy="give a writable path"
        ) from error


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process, for as long as it lives. Held by another, it is a UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}", remedy="give a writable --state folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another conversion is using {folder}", remedy="wait for it") from error
        yield
