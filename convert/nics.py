"""`transferd-convert nics`: the name resolver alone, on a guest's files in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, RootModel, StringConstraints, model_validator

from convert.folder import Folder
from convert.linux.interfaces import Nic
from convert.linux.resolver import resolve
from convert.linux.stacks import clues
from convert.linux.stacks.reading import FOLDER_READS, Reader
from transferd.model import Document

if TYPE_CHECKING:
    from pathlib import Path

# vSphere allows ten network adapters in a VM.
MOST = 64


class NicDocument(Document):
    """One NIC as the source describes it. `slot` is VMware's pciSlotNumber."""

    mac: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}\z")]
    ips: list[str] = Field(default_factory=list)
    slot: Annotated[int, Field(ge=0)] | None = None


class NicList(RootModel[Annotated[list[NicDocument], Field(max_length=MOST)]]):
    """`nics.json`."""

    @model_validator(mode="after")
    def _each_mac_once(self) -> Self:
        if len({nic.mac for nic in self.root}) < len(self.root):
            raise ValueError("two NICs have the same MAC")
        return self


class NicsAnswer(Document):
    """`names` of the NICs that have one, `evidence` for each NIC, `unresolved` the MACs of the others."""

    names: dict[str, str]
    evidence: dict[str, list[str]]
    unresolved: list[str]


def answer(root: Path, nics: NicList) -> tuple[NicsAnswer, tuple[str, ...]]:
    """The names, and what could not be read. UsageError if the folder cannot be."""
    reader = Reader(Folder(root), reads=FOLDER_READS)
    found = resolve([Nic(nic.mac, tuple(nic.ips), nic.slot) for nic in nics.root], clues(reader))
    told = NicsAnswer(
        names={nic.mac: nic.name for nic in found if nic.name is not None},
        evidence={nic.mac: nic.evidence for nic in found},
        unresolved=[nic.mac for nic in found if nic.name is None],
    )
    return told, reader.unread
