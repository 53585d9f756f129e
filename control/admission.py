"""Which VirtualMachine may be applied on behalf of a migration.

The manifest comes from a pod that parsed the file systems of a hostile guest. Whoever took that pod over
writes the manifest, and the controller applies it with rights that the pod never had. A VirtualMachine can
ask for host devices, host paths, Secrets and ServiceAccount tokens, or a sidecar image by an annotation;
so what a migrated machine needs is listed here, field by field, and everything else is refused.

The `Grant` holds what the controller itself knows: name and namespace (another VM must not be overwritten),
claims (each is used once, and none is anybody else's) and networks.

Apply what `admit` returned, not the text that it was read from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from control.rules import Rule, each, either, exactly, fields, matching, shown, whole
from transferd.errors import UsageError

LISTED = 20  # violations that an error spells out; a hostile manifest may have thousands

UUID = matching(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a UUID")
VMWARE_SERIAL = matching(r"VMware(-[0-9a-f]{2}( [0-9a-f]{2}){7}){2}", "a VMware serial number")
MAC = matching(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", "a unicast MAC address")
LABEL = matching(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", "a label value")
TEXT = matching(r"[^\x00-\x1f\x7f]{1,253}", "a line of text")
QUANTITY = matching(r"[1-9][0-9]{0,9}[MG]i", "a size in Mi or Gi")
DISK_NAME = matching(r"disk-[0-9]{1,3}", "a disk name")
NET_NAME = matching(r"net-[0-9]{1,3}", "a network name")
SERIAL = matching(r"[0-9a-f]{1,20}", "a disk serial")
BOOLEAN = exactly(True, False)
EMPTY = fields({})

# An allowed prefix would do for people; single keys keep a pod from speaking to the controller's own ones.
LABELS = fields(
    {},
    {
        "app.kubernetes.io/managed-by": exactly("transferd"),
        "transferd.io/moref": LABEL,
        "transferd.io/instance-uuid": LABEL,
        "transferd.io/distro": LABEL,
    },
)
ANNOTATIONS = fields({}, {"transferd.io/source-name": TEXT, "transferd.io/guest": TEXT})

DISK = fields(
    {"name": DISK_NAME, "disk": fields({"bus": exactly("virtio", "sata")})},
    {"serial": SERIAL, "bootOrder": exactly(1)},
)
INTERFACE = fields(
    {"name": NET_NAME, "model": exactly("virtio", "e1000e"), "macAddress": MAC},
    {"masquerade": EMPTY, "bridge": EMPTY, "state": exactly("down")},
)
DEVICES = fields(
    {"disks": each(DISK), "interfaces": each(INTERFACE), "autoattachPodInterface": exactly(False)},
    {
        "autoattachMemBalloon": BOOLEAN,
        "rng": EMPTY,
        "tpm": fields({"persistent": exactly(True)}),
    },
)
FIRMWARE = fields(
    {
        "uuid": UUID,
        "serial": VMWARE_SERIAL,
        "bootloader": either(bios=EMPTY, efi=fields({"secureBoot": BOOLEAN})),
    }
)
DOMAIN = fields(
    {
        "machine": fields({"type": exactly("q35")}),
        "firmware": FIRMWARE,
        "features": fields(
            {"acpi": fields({"enabled": exactly(True)})}, {"smm": fields({"enabled": exactly(True)})}
        ),
        "clock": fields({"utc": fields({}, {"offsetSeconds": exactly(0)})}),
        "cpu": fields({"sockets": whole(1, 4096), "cores": whole(1, 4096), "threads": exactly(1)}),
        "memory": fields({"guest": QUANTITY}),
        "devices": DEVICES,
    }
)


@dataclass(frozen=True)
class Grant:
    """What one migration may create: a VM of this name on these claims and networks.

    Networks are spelt as in a migration's networkMap: `pod` or `namespace/name`.
    """

    name: str
    namespace: str
    claims: frozenset[str]
    networks: frozenset[str]


def admit(manifest: object, grant: Grant) -> dict[str, Any]:
    """`manifest`, unchanged, if everything in it is allowed; UsageError with all that is not."""
    if found := violations(manifest, grant):
        more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
        raise UsageError(
            f"manifest not admitted: {'; '.join(found[:LISTED])}{more}",
            vm=grant.name,
            remedy="nothing was applied; look at the convert pod that wrote it",
        )
    return cast("dict[str, Any]", manifest)


def violations(manifest: object, grant: Grant) -> list[str]:
    """Everything that is not allowed, each as `path: problem`; empty for an admissible manifest."""
    found = list(_virtual_machine(grant)("manifest", manifest))
    # How parts relate can only be asked once each part has its shape.
    return found or list(_relations(cast("dict[str, Any]", manifest)["spec"]["template"]["spec"], grant))


def _virtual_machine(grant: Grant) -> Rule:
    metadata = fields(
        {"name": exactly(grant.name), "namespace": exactly(grant.namespace)},
        {"labels": LABELS, "annotations": ANNOTATIONS},
    )
    return fields(
        {
            "apiVersion": exactly("kubevirt.io/v1"),
            "kind": exactly("VirtualMachine"),
            "metadata": metadata,
            "spec": fields(
                {"runStrategy": exactly("Halted"), "template": fields({"spec": _instance(grant)})}
            ),
        }
    )


def _instance(grant: Grant) -> Rule:
    claim = fields({"claimName": exactly(*sorted(grant.claims))})
    multus = fields({"networkName": exactly(*sorted(grant.networks - {"pod"}))})
    pod = {"pod": EMPTY} if "pod" in grant.networks else {}
    return fields(
        {
            "domain": DOMAIN,
            "volumes": each(fields({"name": DISK_NAME, "persistentVolumeClaim": claim})),
            "networks": each(fields({"name": NET_NAME}, {"multus": multus, **pod})),
        },
        {"architecture": exactly("amd64"), "terminationGracePeriodSeconds": whole(0, 3600)},
    )


def _relations(instance: dict[str, Any], grant: Grant) -> Iterator[str]:
    devices = instance["domain"]["devices"]
    disks, volumes = devices["disks"], instance["volumes"]
    interfaces, networks = devices["interfaces"], instance["networks"]
    yield from _pairs("disks", disks, "volumes", volumes)
    yield from _pairs("interfaces", interfaces, "networks", networks)

    used = Counter(volume["persistentVolumeClaim"]["claimName"] for volume in volumes)
    yield from (f"volumes: claim {shown(name)} is used {n} times" for name, n in used.items() if n > 1)
    yield from (f"volumes: claim {shown(name)} is not used" for name in sorted(grant.claims - used.keys()))
    if sum("bootOrder" in disk for disk in disks) > 1:
        yield "disks: more than one is the first to boot from"

    if sum("pod" in network for network in networks) > 1:
        yield "networks: more than one is the pod network"
    for network, interface in zip(networks, interfaces, strict=False):
        binding = interface.keys() & {"masquerade", "bridge"}
        wanted = {"pod": {"masquerade"}, "multus": {"bridge"}}
        source = network.keys() & wanted.keys()
        if len(source) != 1 or binding != wanted[source.pop()]:
            yield f"networks: {network['name']} is not pod with masquerade or multus with bridge"


def _pairs(left: str, lefts: list[Any], right: str, rights: list[Any]) -> Iterator[str]:
    """Two lists that must have the same names in the same order, each name once."""
    names = [one["name"] for one in lefts]
    if names != [one["name"] for one in rights]:
        yield f"{left} and {right}: not the same names in the same order"
    if len(set(names)) != len(names):
        yield f"{left}: a name is used twice"
