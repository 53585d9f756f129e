"""What stands in the way of migrating a VM, all of it at once: what blocks, what is lost, what will be done.

Pure: property values in, documents out. `PATHS` is what it needs to be read beside `inventory.PATHS`; what
vCenter keeps back is taken for unset, so a concern is raised for what was seen, never for what was not.

*critical*: it cannot be migrated like this, or not in the way the text says. *warning*: it can, but something
is lost or may fail. *information*: nothing to do. Ids are stable: other programs select by them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from transferd.model import Concern, PowerState, SourceVM
from transferd.vsphere import device_concerns

PATHS = (
    "capability.changeTrackingSupported",
    "config.cpuAffinity",
    "config.keyId",
    "config.memoryAffinity",
    "config.version",
    "datastore",
    "guest.toolsVersionStatus2",
    "runtime.connectionState",
    "runtime.consolidationNeeded",
    "runtime.faultToleranceState",
    "runtime.question",
)
HOST_PATHS = ("runtime.inMaintenanceMode",)

LONGEST_CHAIN = 28  # snapshots; ESXi allows 32, and rounds need room (Forklift's documentation has the same)
TRACKING_SINCE = 7  # virtual hardware version that brought changed block tracking (VDDK programming guide)
QUOTED = 200  # characters of a text that others wrote
DNS_LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes checks it
NO_CONVERSION = (  # beginnings of guestIds: neither Linux nor Windows
    "darwin",
    "dos",
    "eComStation",
    "freebsd",
    "netware",
    "openServer",
    "os2",
    "otherGuest",
    "solaris",
    "unixWare",
    "vmkernel",
)
ORDER = ("critical", "warning", "information")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """As much of another VM as tells whether it is taken for this one."""

    moref: str
    name: str
    instance_uuid: str | None
    bios_uuid: str | None

    @classmethod
    def of(cls, moref: str, values: dict[str, Any]) -> Self:
        return cls(
            moref, values.get("name") or moref, values.get("config.instanceUuid"), values.get("config.uuid")
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """All that rules look at. `host` holds the values of HOST_PATHS."""

    values: dict[str, Any]
    vm: SourceVM
    others: Sequence[Neighbour]
    host: dict[str, Any]


def concerns(
    values: dict[str, Any], vm: SourceVM, others: Sequence[Neighbour], host: dict[str, Any]
) -> list[Concern]:
    """The gravest first. `others` may hold the VM itself."""
    seen = Seen(values, vm, [other for other in others if other.moref != vm.moref], host)
    found = [concern for rule in RULES for concern in rule(seen)]
    found += device_concerns.concerns(values)
    return sorted(found, key=lambda concern: (ORDER.index(concern.category), concern.id))


def _concern(
    name: str, category: Literal["critical", "warning", "information"], label: str, means: str, remedy: str
) -> Concern:
    return Concern(id=name, category=category, label=label, assessment=means, remedy=remedy)


def _place(seen: Seen) -> Iterator[Concern]:
    state = seen.values.get("runtime.connectionState") or "connected"
    if state != "connected":
        yield _concern(
            "not-connected", "critical", f"The VM is {state}",
            "vCenter does not reach the VM's host or files, so nothing of it can be read.",
            "Reconnect the host, or repair the VM's registration.",
        )  # fmt: skip
    if seen.host.get("runtime.inMaintenanceMode"):
        yield _concern(
            "host-maintenance", "warning", "The host is in maintenance mode",
            "The host starts no VM and may be shut down during the copy.",
            "End the maintenance, or move the VM to another host.",
        )  # fmt: skip
    if seen.values.get("datastore") == []:
        yield _concern(
            "no-datastore", "critical", "The VM has no datastore",
            "There is nothing that its disks could be read from.",
            "Mount the datastore of its files, or register the VM anew.",
        )  # fmt: skip


def _attention(seen: Seen) -> Iterator[Concern]:
    question = seen.values.get("runtime.question")
    if question is not None:
        yield _concern(
            "pending-question", "critical", "The VM waits for an answer",
            f'vSphere does nothing with the VM until someone answers "{(question.text or "")[:QUOTED]}".',
            "Answer the question in the vSphere client.",
        )  # fmt: skip
    if (seen.values.get("runtime.faultToleranceState") or "notConfigured") != "notConfigured":
        yield _concern(
            "fault-tolerance", "critical", "Fault tolerance is on",
            "vSphere takes no snapshot of such a VM as others can, and its twin would go on.",
            "Turn fault tolerance off before the migration.",
        )  # fmt: skip


def _power(seen: Seen) -> Iterator[Concern]:
    vm = seen.vm
    if vm.power_state is PowerState.SUSPENDED:
        yield _concern(
            "suspended", "critical", "The VM is suspended",
            "What it has in memory is not on its disks and would be lost.",
            "Resume it, or shut it down.",
        )  # fmt: skip
    missing = seen.values.get("guest.toolsVersionStatus2") == "guestToolsNotInstalled"
    if vm.power_state is PowerState.ON and (missing or vm.tools == "guestToolsNotRunning"):
        yield _concern(
            "tools", "critical", f"VMware Tools are not {'installed' if missing else 'running'}",
            "The guest cannot be asked to shut down, and its addresses are not known.",
            "Start VMware Tools, shut the guest down yourself, or set shutdown.policy: hard.",
        )  # fmt: skip


def _snapshots(seen: Seen) -> Iterator[Concern]:
    tree = seen.values.get("snapshot")
    depth = _depth(tree.rootSnapshotList) if tree else 0
    if depth:
        yield _concern(
            "snapshots", "warning", "The VM has snapshots",
            "Its present state is migrated; what the snapshots hold is not. They make reading slower.",
            "Remove those that nobody needs.",
        )  # fmt: skip
    if depth > LONGEST_CHAIN:
        yield _concern(
            "snapshot-chain", "critical", f"{depth} snapshots in a row",
            "No room for another one: the VM cannot be read while it is on, a warm migration is impossible.",
            f"Remove snapshots until at most {LONGEST_CHAIN} are left.",
        )  # fmt: skip
    if seen.values.get("runtime.consolidationNeeded"):
        yield _concern(
            "consolidation", "warning", "Disks need consolidation",
            "It is done before the first snapshot, which can take long and slows the guest down.",
            "Consolidate the disks beforehand, when the load is low.",
        )  # fmt: skip


def _depth(level: list[Any] | None) -> int:
    """Snapshots in the longest chain. Not recursive: a hostile tree may be as deep as it likes."""
    depth = 0
    while level:
        depth += 1
        level = [child for node in level for child in node.childSnapshotList or []]
    return depth


def _tracking(seen: Seen) -> Iterator[Concern]:
    version = re.fullmatch(r"vmx-([0-9]{1,4})", seen.values.get("config.version") or "")
    old = version is not None and int(version[1]) < TRACKING_SINCE
    if old or seen.values.get("capability.changeTrackingSupported") is False:
        yield _concern(
            "no-change-tracking", "warning", "No changed block tracking",
            "vSphere cannot say what changed between two rounds: each round of a warm migration compares"
            " whole disks.",
            "Migrate cold, or upgrade the virtual hardware to version 7 or later.",
        )  # fmt: skip
    elif not seen.vm.cbt_enabled and "config.changeTrackingEnabled" in seen.values:
        yield _concern(
            "change-tracking-off", "information", "Changed block tracking is off",
            "A warm migration switches it on, by taking and removing a snapshot. A cold one needs none.",
            "Nothing to do.",
        )  # fmt: skip


def _identity(seen: Seen) -> Iterator[Concern]:
    vm = seen.vm
    twins = [
        other.name for other in seen.others if vm.instance_uuid and other.instance_uuid == vm.instance_uuid
    ]
    if twins:
        yield _concern(
            "duplicate-instance-uuid", "critical", "Another VM has the same instance UUID",
            f"State and journals cannot tell it from {_list(twins)}.",
            "Give one of them a new instance UUID, and name the VM by its moref.",
        )  # fmt: skip
    twins = [other.name for other in seen.others if vm.bios_uuid and other.bios_uuid == vm.bios_uuid]
    if twins:
        yield _concern(
            "duplicate-bios-uuid", "warning", "Another VM has the same BIOS UUID",
            f"The UUID comes along, and software in the guest may take it for {_list(twins)}.",
            "Give one of them a new UUID, unless a licence depends on it.",
        )  # fmt: skip
    if DNS_LABEL.fullmatch(vm.name) is None:
        fit = re.sub("[^a-z0-9]+", "-", vm.name.lower())[:63].strip("-") or "vm"
        yield _concern(
            "name", "warning", "The name cannot be used in Kubernetes",
            "Names there are at most 63 of a-z, 0-9 and -, and neither begin nor end with -.",
            f"Set manifest.name, for example to {fit}.",
        )  # fmt: skip


def _list(names: list[str]) -> str:
    return ", ".join(names)[:QUOTED]


def _guest(seen: Seen) -> Iterator[Concern]:
    firmware = seen.values.get("config.firmware")
    if firmware not in {None, "", "bios", "efi"}:
        yield _concern(
            "firmware", "critical", f"Unknown firmware {firmware[:QUOTED]}",
            "The target can be given BIOS or EFI.",
            "Change the VM's firmware, if its guest boots with another.",
        )  # fmt: skip
    if seen.vm.secure_boot:
        yield _concern(
            "secure-boot", "information", "Secure boot is on",
            "It stays on. The firmware's variables do not come along: keys that were enrolled by hand"
            " have to be enrolled again.",
            "Have the keys at hand, if the guest loads modules that its vendor did not sign.",
        )  # fmt: skip
    if seen.vm.guest_id.startswith(NO_CONVERSION):
        yield _concern(
            "guest-os", "information", "Neither Linux nor Windows",
            "The disks are copied and proven, the guest is not converted: it gets SATA and e1000e.",
            "Check that the guest has drivers for them.",
        )  # fmt: skip


def _affinity(seen: Seen) -> Iterator[Concern]:
    pinned = [
        what
        for what, path in (("CPU", "config.cpuAffinity"), ("NUMA", "config.memoryAffinity"))
        if getattr(seen.values.get(path), "affinitySet", None)
    ]
    if any(option.key == "numa.nodeAffinity" for option in seen.values.get("config.extraConfig") or []):
        pinned.append("NUMA")
    if pinned:
        yield _concern(
            "affinity", "warning", f"{' and '.join(dict.fromkeys(pinned))} affinity",
            "The VM is tied to parts of its host. The target is not.",
            "Use dedicated CPUs and NUMA settings of KubeVirt, if the guest depends on it.",
        )  # fmt: skip


RULES: tuple[Callable[[Seen], Iterator[Concern]], ...] = (
    _place, _attention, _power, _snapshots, _tracking, _identity, _guest, _affinity,
)  # fmt: skip
