"""Reading what people wrote: `vcenter.yaml`, `migration.yaml`, password files.

Every mistake is a UsageError on one line that names the file and the field. Relative paths are relative to
the file that holds them, so that a folder of configuration can be moved as a whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from transferd.errors import UsageError
from transferd.model import MigrationSpec, VCenter, VMRef

D = TypeVar("D", bound=BaseModel)
S = TypeVar("S", bound=MigrationSpec)

MAX_BYTES = 1 << 20  # a configuration larger than this is a mistake


def load(path: Path, kind: type[D]) -> D:
    """The document of `kind` in YAML (or JSON) file `path`, checked field by field."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise UsageError(f"{path}: {reason}", remedy="check the path") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return kind.model_validate(content)
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
    return (path.parent / Path(name).expanduser()).resolve()


def vcenter(path: Path) -> VCenter:
    """`vcenter.yaml` with its paths made absolute and its TLS choice made exactly once."""
    config = load(path, VCenter)
    chosen = [config.ca_file is not None, config.thumbprint is not None, config.insecure]
    if sum(chosen) != 1:
        raise UsageError(f"{path}: give exactly one of caFile, thumbprint, insecure: true")
    return config.model_copy(
        update={
            "password_file": str(beside(path, config.password_file)),
            "ca_file": config.ca_file and str(beside(path, config.ca_file)),
        }
    )


def password(config: VCenter) -> str:
    """First line of the password file. Read when needed, never kept in a document."""
    try:
        text = Path(config.password_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"passwordFile {config.password_file}: cannot be read") from error
    line = text.split("\n", 1)[0]
    if not line:
        raise UsageError(f"passwordFile {config.password_file}: its first line is empty")
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
    if sum(value is not None for value in (ref.name, ref.moref, ref.instance_uuid)) != 1:
        raise UsageError(f"{where}: give exactly one of name, moref, instanceUuid")
