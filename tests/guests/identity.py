"""What a guest says about itself on its serial console (printed there by files/identity.sh).

One line of JSON between two marker lines, mostly made by the guest's own tools (`ip -json`, `findmnt --json`,
`systemctl --output=json`), so its shape is theirs. A guest may print anything: the block is bounded, parsed
strictly, and what does not parse is no identity.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

BEGIN = b"=== TRANSFERD IDENTITY BEGIN ==="
END = b"=== TRANSFERD IDENTITY END ==="

# A guest with two disks and one NIC needs 2 KiB.
BLOCK_LIMIT = 1 << 16

_BLOCK = re.compile(re.escape(BEGIN) + rb"\s{1,8}(\{[^\r\n]{,%d}\})\s{1,8}" % BLOCK_LIMIT + re.escape(END))

Text = Annotated[str, Field(max_length=4096)]


class Fact(BaseModel):
    """Frozen and strictly typed. Members that the guest's tools add are left aside."""

    model_config = ConfigDict(frozen=True, strict=True)


class Address(Fact):
    family: Text
    local: Text
    prefixlen: int


class Interface(Fact):
    """`address` of a bond's port is the bond's; `permaddr` is then its own. `link` is what a VLAN lies on."""

    ifname: Text
    address: Text
    addr_info: list[Address]
    flags: list[Text] = []
    master: Text | None = None
    link: Text | None = None
    permaddr: Text | None = None

    @property
    def is_nic(self) -> bool:
        return self.ifname != "lo" and self.link is None and "MASTER" not in self.flags


class FileSystem(Fact):
    target: Text
    source: Text
    fstype: Text
    uuid: Text | None


class Unit(Fact):
    unit: Text


class Mounts(Fact):
    filesystems: list[FileSystem]


class Identity(Fact):
    """The guest's own account. `data_sha256` is null where the data disk is not mounted."""

    kernel: Text
    cmdline: Text
    multi_user: Text = Field(description="state of multi-user.target")
    network: list[Interface]
    mounted: Mounts
    swaps: list[Text]
    failed: list[Unit]
    data_sha256: Text | None

    @property
    def reached_multi_user(self) -> bool:
        return self.multi_user == "active"

    @property
    def root(self) -> FileSystem:
        return self.mounts["/"]

    @property
    def root_argument(self) -> str:
        """`root=` of the kernel command line, as the boot loader gave it."""
        return next((word[5:] for word in self.cmdline.split() if word.startswith("root=")), "")

    @property
    def root_by_uuid(self) -> bool:
        return self.root_argument == f"UUID={self.root.uuid}"

    @property
    def mounts(self) -> dict[str, FileSystem]:
        return {file_system.target: file_system for file_system in self.mounted.filesystems}

    @property
    def nics(self) -> dict[str, str]:
        """A NIC's own MAC to its name: no loopback, bond or VLAN."""
        return {(nic.permaddr or nic.address).lower(): nic.ifname for nic in self.network if nic.is_nic}

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Name to IPv4 addresses, each with its prefix length, loopback left out."""
        return {
            nic.ifname: [f"{a.local}/{a.prefixlen}" for a in nic.addr_info if a.family == "inet"]
            for nic in self.network
            if nic.ifname != "lo"
        }

    @property
    def all_addresses(self) -> dict[str, list[str]]:
        """Name to addresses of both families, with their prefix lengths; link-local ones are left out."""
        return {
            nic.ifname: [f"{a.local}/{a.prefixlen}" for a in nic.addr_info if not a.local.startswith("fe80:")]
            for nic in self.network
            if nic.ifname != "lo"
        }

    @property
    def failed_units(self) -> list[str]:
        return [failed.unit for failed in self.failed]


def read_identity(console: bytes) -> Identity | None:
    block = _BLOCK.search(console)
    if block is None:
        return None
    try:
        return Identity.model_validate_json(block[1])
    except ValidationError:
        return None
