"""Reading what people wrote: `vcenter.yaml`, `migration.yaml`, password files.

Every mistake is a UsageError on one line that names the file and the field. Relative paths are relative to
the file that holds them, so that a folder of configuration can be moved as a whole. Only regular files are
read, and only up to a size that makes sense: a FIFO or a device could keep a migration waiting for ever.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import TypeVar

import structlog
import yaml
from pydantic import BaseModel, ValidationError

from transferd.errors import UsageError
from transferd.model import MigrationSpec, VCenter, VMRef

D = TypeVar("D", bound=BaseModel)
S = TypeVar("S", bound=MigrationSpec)

log = structlog.get_logger()

MAX_BYTES = 1 << 20  # a configuration larger than this is a mistake
MAX_PASSWORD = 4096  # bytes of a password file; vCenter takes passwords of up to 127 characters
TOO_OPEN = 0o037  # permissions beyond those of a Secret that is shared through fsGroup: 0440
MOREF = re.compile("[A-Za-z0-9-]{1,80}")  # of VMs and snapshots: vm-17, ESXi's 17, 3-snapshot-1
UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def content(path: Path, most: int = MAX_BYTES, *, name: str | None = None) -> bytes:
    """All of a regular file of at most `most` bytes. UsageError, which begins with `name`, for any other."""
    name = name or str(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # does not wait for a FIFO's writer
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f"{name}: is no regular file", remedy="give a file with the content in it")
            found = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{name}: {reason}", remedy="check the path") from error
    if len(found) > most:
        raise UsageError(f"{name}: larger than {most} bytes", remedy="check the path")
    return found


def load(path: Path, kind: type[D]) -> D:
    """The document of `kind` in YAML (or JSON) file `path`, checked field by field."""
    try:
        text = content(path).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text", remedy="check the path") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UsageError(f"{path}: {_summary(error)}") from error


def _summary(error: ValidationError) -> str:
    """Every wrong field and why, on one line. Inputs are left out: they may be secrets."""
    faults = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    ]
    return "; ".join(faults)


def beside(path: Path, name: str) -> Path:
    """`name` as meant inside file `path`."""
    try:
        return (path.parent / Path(name).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # an unknown ~user, a circle of links, a NUL
        raise UsageError(f"{path}: {name[:200]!r} is no path: {error}") from error


def vcenter(path: Path) -> VCenter:
    """`vcenter.yaml` with its paths made absolute and its TLS choice made exactly once."""
    config = load(path, VCenter)
    chosen = [config.ca_file is not None, config.thumbprint is not None, config.insecure]
    if sum(chosen) != 1:
        raise UsageError(f"{path}: give exactly one of caFile, thumbprint, insecure: true")
    absolute = config.model_copy(
        update={
            "password_file": str(beside(path, config.password_file)),
            "ca_file": config.ca_file and str(beside(path, config.ca_file)),
        }
    )
    _warn(path, absolute)
    return absolute


def _warn(path: Path, config: VCenter) -> None:
    """Say what is allowed and should not be."""
    if config.insecure:
        log.warning("insecure: whoever is between here and vCenter can read the password", file=str(path))
    try:
        mode = stat.S_IMODE(Path(config.password_file).stat().st_mode)
    except OSError:
        return  # it is read, and refused, when it is needed
    if mode & TOO_OPEN:
        log.warning(
            "the password file is open to others: chmod 0600", path=config.password_file, mode=f"{mode:04o}"
        )


def password(config: VCenter) -> str:
    """First line of the password file, without its line end and otherwise as it is.

    Read when needed, never kept in a document. What is wrong with it is said without repeating any of it.
    """
    name = f"passwordFile {config.password_file}"
    try:
        text = content(Path(config.password_file), MAX_PASSWORD, name=name).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{name}: is not UTF-8 text") from None  # the cause quotes the file
    line = text.split("\n", 1)[0]
    if not line:
        raise UsageError(f"{name}: its first line is empty")
    if any(unicodedata.category(character) == "Cc" for character in line):
        raise UsageError(
            f"{name}: has a control character in its first line",
            remedy="write the password as plain text; Windows ends lines with CR LF, which is one too many",
        )
    return line


def migration(path: Path, kind: type[S]) -> S:
    """`migration.yaml`, or a worker's spec, with its paths made absolute."""
    spec = load(path, kind)
    require_one(spec.vm, f"{path}: vm")
    if bool(spec.targets) == (spec.target_dir is not None):
        raise UsageError(f"{path}: give either targets or targetDir")
    return spec.model_copy(
        update={
            "vcenter": str(beside(path, spec.vcenter)),
            "targets": {key: str(beside(path, name)) for key, name in spec.targets.items()},
            "target_dir": spec.target_dir and str(beside(path, spec.target_dir)),
            "state": spec.state and str(beside(path, spec.state)),
        }
    )


def require_one(ref: VMRef, where: str) -> None:
    """UsageError unless `ref` names one VM, in a way that a VM can be named."""
    if sum(value is not None for value in (ref.name, ref.moref, ref.instance_uuid)) != 1:
        raise UsageError(f"{where}: give exactly one of name, moref, instanceUuid")
    if ref.moref is not None and MOREF.fullmatch(ref.moref) is None:
        raise UsageError(f"{where}.moref: {ref.moref[:80]!r} is none", remedy="vCenter's are like vm-17")
    if ref.instance_uuid is not None and UUID.fullmatch(ref.instance_uuid) is None:
        raise UsageError(
            f"{where}.instanceUuid: {ref.instance_uuid[:80]!r} is none",
            remedy="give it as transferd inventory --vm NAME --json prints it, in lower case",
        )
