"""Which UEFI firmware this machine has for QEMU: asked of the descriptors that every distribution ships.

The files and their order are QEMU's own convention (docs/interop/firmware.json): a name in the first folder
hides the same name in the second, an empty file hides and describes nothing, the lowest name is preferred.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDERS = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))
MACHINE = "pc-q35-"


@dataclass(frozen=True)
class Uefi:
    """`code` is never written; `variables` is a template of which every machine has a copy."""

    code: Path
    variables: Path
    secure: bool


def find(*, secure: bool, folders: Sequence[Path] = FOLDERS) -> Uefi:
    """The preferred firmware for q35 on x86-64. `secure`: Secure Boot is on, with the usual keys enrolled."""
    for described in _descriptors(folders):
        found = _q35(described)
        if found is not None and found.secure == secure and found.code.exists() and found.variables.exists():
            return found
    kind = "Secure Boot with enrolled keys" if secure else "UEFI"
    raise UsageError(f"no {kind} firmware for QEMU on this machine", remedy="install ovmf")


def _descriptors(folders: Sequence[Path]) -> Iterable[Any]:
    files: dict[str, Path] = {}
    for folder in reversed(folders):
        files |= {path.name: path for path in folder.glob("*.json")}
    for _, path in sorted(files.items()):
        try:
            yield json.loads(path.read_text("utf-8"))
        except ValueError:  # the empty file that hides another
            continue
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}", remedy="mend the firmware descriptor") from error


def _q35(described: Any) -> Uefi | None:
    """None for a descriptor of anything else, or of a shape that this convention does not have."""
    try:
        mapping = described["mapping"]
        fits = "uefi" in described["interface-types"] and any(
            target["architecture"] == "x86_64"
            and any(machine.startswith(MACHINE) for machine in target["machines"])
            for target in described["targets"]
        )
        raw = {mapping["executable"]["format"], mapping["nvram-template"]["format"]} == {"raw"}
        features = set(described["features"])
        code, variables = mapping["executable"]["filename"], mapping["nvram-template"]["filename"]
    except (KeyError, TypeError):
        return None
    if not fits or not raw or ("secure-boot" in features) != ("enrolled-keys" in features):
        return None
    return Uefi(Path(code), Path(variables), secure="enrolled-keys" in features)
