"""What the target VM is plugged into: disks to claims, NICs to networks.

KubeVirt has two lists for each pair, tied by a name: `devices.disks` and `volumes`, `devices.interfaces` and
`networks`. The names are numbered here (`disk-0`, `net-0`), never taken from the source, and both lists keep
the source's order, because guests number their hardware by it.

All that is missing or impossible in a request is named at once, since whoever wrote it mends it in one go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from transferd.errors import UsageError

if TYPE_CHECKING:
    from transferd.model import Caps, ManifestRequest, SourceDisk, SourceNic, SourceVM

# Kubernetes, "Object Names and IDs". Matched whole, always.
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){DNS_LABEL.pattern}(\.{DNS_LABEL.pattern})*")

# Unicast: libvirt refuses to start a domain with a group address on a NIC.
MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# The last 20 digits of the disk's UUID: virtio-blk carries no more (VIRTIO_BLK_ID_BYTES of Linux), and
# VMware's UUIDs all begin with the same 6000c29.
SERIAL_LENGTH = 20


def named(name: str, field: str, syntax: re.Pattern[str]) -> str:
    """`name`, which the request gives as `manifest.FIELD`, once it is proven a name to Kubernetes."""
    if not syntax.fullmatch(name):
        length = (
            "at most 63 characters" if syntax is DNS_LABEL else "dots between parts, at most 253 characters"
        )
        raise UsageError(
            f"manifest.{field}: '{name}' is no Kubernetes name",
            remedy=f"use lower case letters, digits and '-', a letter or digit at both ends, {length}",
        )
    return name


def volumes(source: SourceVM, request: ManifestRequest) -> list[dict[str, Any]]:
    """One volume a disk, each on its own claim."""
    claims = request.claims
    remedy = "name one PVC for each disk, in disk order, in manifest.claims"
    if without := [disk.label for disk in source.disks[len(claims) :]]:
        raise UsageError(f"no claim for {', '.join(without)}", remedy=remedy)
    if len(claims) > len(source.disks):
        raise UsageError(f"{len(claims)} claims for {len(source.disks)} disks", remedy=remedy)
    if twice := sorted({claim for claim in claims if claims.count(claim) > 1}):
        raise UsageError(f"more than one disk on claim {', '.join(twice)}", remedy=remedy)
    return [
        {
            "name": f"disk-{i}",
            "persistentVolumeClaim": {"claimName": named(claim, f"claims[{i}]", DNS_SUBDOMAIN)},
        }
        for i, claim in enumerate(claims)
    ]


def disk(index: int, source: SourceDisk, caps: Caps) -> dict[str, Any]:
    """The device of the volume with the same name."""
    uuid = (source.uuid or "").lower()
    serial = uuid.replace("-", "")[-SERIAL_LENGTH:] if UUID.fullmatch(uuid) else ""
    return {
        "name": f"disk-{index}",
        "disk": {"bus": str(caps.block)},
        **({"serial": serial} if serial else {}),
        **({"bootOrder": 1} if index == caps.boot_disk else {}),
    }


def networks(source: SourceVM, request: ManifestRequest) -> list[dict[str, Any]]:
    """One network a NIC, in NIC order."""
    mapped = request.network_map
    if unmapped := sorted({nic.network for nic in source.nics} - mapped.keys()):
        raise UsageError(
            "no target for " + ", ".join(f"network '{network}'" for network in unmapped),
            remedy="give each as `pod` or `namespace/name` in manifest.networkMap",
        )
    on_pod = [nic.label for nic in source.nics if mapped[nic.network] == "pod"]
    if len(on_pod) > 1:
        raise UsageError(
            f"{', '.join(on_pod)} would all be on the pod network, and a VM has one interface there",
            remedy="give the other networks a `namespace/name` in manifest.networkMap",
        )
    return [
        {"name": f"net-{i}", **_network(nic.network, mapped[nic.network])}
        for i, nic in enumerate(source.nics)
    ]


def _network(source: str, target: str) -> dict[str, Any]:
    if target == "pod":
        return {"pod": {}}
    namespace, _, name = target.partition("/")
    if not (DNS_LABEL.fullmatch(namespace) and DNS_SUBDOMAIN.fullmatch(name)):
        raise UsageError(
            f"manifest.networkMap sends network '{source}' to '{target}'",
            remedy="give `pod`, or `namespace/name` of a NetworkAttachmentDefinition",
        )
    return {"multus": {"networkName": target}}


def interface(nic: SourceNic, network: dict[str, Any], caps: Caps) -> dict[str, Any]:
    """The device on `network`, with the MAC that the guest knows. A disconnected NIC stays unplugged."""
    if not MAC.fullmatch(nic.mac):
        raise UsageError(
            f"{nic.label} has MAC address '{nic.mac}'",
            remedy="a NIC needs a unicast address, six pairs of hex digits in lower case with colons",
        )
    return {
        "name": network["name"],
        "model": str(caps.net),
        "macAddress": nic.mac,
        # An address behind a bridge is the guest's own; the pod's address belongs to the pod.
        **({"masquerade": {}} if "pod" in network else {"bridge": {}}),
        **({} if nic.connected else {"state": "down"}),
    }
