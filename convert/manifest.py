"""The KubeVirt VirtualMachine that a converted guest becomes: pure, from three documents to one.

`SourceVM` says what the hardware was, `ConversionResult.caps` what the converted guest can drive, and
`ManifestRequest` what only the operator of the target cluster knows: names, claims, networks. `wiring` ties
disks to claims and NICs to networks; the rest of the machine is here.

Whoever runs this has parsed a hostile guest, and names in the inventory are anybody's, so source strings
get into the manifest by three ways only. Identities (BIOS UUID, MAC) must have their one syntax, or there
is no manifest. Strings that fit a label become a label, and those that do not are left out, since a
mangled identifier would select the wrong VM. Free text becomes an annotation, escaped and cut.

KubeVirt facts were read in v1.8.2: api/openapi-spec/swagger.json and the admitters under pkg/.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from convert import wiring
from transferd.errors import UsageError, printable
from transferd.model import Caps, ConversionResult, Firmware, Guest, ManifestRequest, SourceVM

MiB = 1 << 20
GiB = 1 << 30

# Services of a guest get this long to stop before power is cut. KubeVirt's own default of 30 s is meant for
# containers; a database, or a Windows guest installing updates, needs minutes.
TERMINATION_GRACE = 180

# What KVM can run on x86 (KVM_MAX_VCPUS), and far above the 24 TiB of a vSphere VM. A document that asks for
# more is not one of ours, and Kubernetes counts in int64.
MAX_CPUS = 4096
MAX_MEMORY = 1 << 50

ANNOTATION_LENGTH = 253

# Kubernetes, "Labels and Selectors".
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

PLAIN = re.compile(r"[A-Za-z][-A-Za-z0-9./]+")


def build(source: SourceVM, result: ConversionResult, request: ManifestRequest) -> dict[str, Any]:
    """The VirtualMachine, stopped: whoever applies it starts it once the source is confirmed off.

    UsageError: the request does not fit the source (names, claims, networks), or the source's own
    document is not one that vSphere could have written.
    """
    try:
        return {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": _metadata(source, result.guest, request),
            "spec": {"runStrategy": "Halted", "template": {"spec": _instance(source, result.caps, request)}},
        }
    except UsageError as error:
        raise error.within(vm=source.name) from None


def render(manifest: dict[str, Any]) -> str:
    """`manifest` as YAML that every reader takes for the same document.

    YAML readers disagree on what is a number or a truth value: a serial `6000e12` is text to PyYAML and a
    float to the Go readers of Kubernetes, a VM called `y` is `true` to them. All but plain words is quoted.
    """
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=110)


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _metadata(source: SourceVM, guest: Guest, request: ManifestRequest) -> dict[str, Any]:
    identifiers = {
        "transferd.io/moref": source.moref,
        "transferd.io/instance-uuid": source.instance_uuid,
        "transferd.io/distro": guest.distro or "",
    }
    texts = {"transferd.io/source-name": source.name, "transferd.io/guest": guest.product or ""}
    labels = {key: value for key, value in identifiers.items() if LABEL_VALUE.fullmatch(value)}
    return {
        "name": wiring.named(request.name, "name", wiring.DNS_LABEL),
        "namespace": wiring.named(request.namespace, "namespace", wiring.DNS_LABEL),
        "labels": {"app.kubernetes.io/managed-by": "transferd", **labels},
        "annotations": {
            key: printable(value)[:ANNOTATION_LENGTH] for key, value in texts.items() if value.strip()
        },
    }


def _instance(source: SourceVM, caps: Caps, request: ManifestRequest) -> dict[str, Any]:
    networks = wiring.networks(source, request)
    return {
        # q35 exists on this architecture only; a mixed cluster must not schedule it elsewhere.
        "architecture": "amd64",
        "terminationGracePeriodSeconds": TERMINATION_GRACE,
        "domain": {
            "machine": {"type": caps.machine},
            "firmware": _firmware(source, caps),
            "features": _features(source, caps),
            "clock": _clock(caps),
            "cpu": _cpu(source),
            "memory": {"guest": _memory(source)},
            "devices": _devices(source, caps, networks),
        },
        "networks": networks,
        "volumes": wiring.volumes(source, request),
    }


def _secure_boot(source: SourceVM, caps: Caps) -> bool:
    return caps.firmware is Firmware.EFI and source.secure_boot


def _firmware(source: SourceVM, caps: Caps) -> dict[str, Any]:
    uuid = source.bios_uuid
    if not wiring.UUID.fullmatch(uuid):
        raise UsageError(f"BIOS UUID '{uuid}' is no UUID", remedy="take source.json from inventory again")
    octets = re.findall("..", uuid.replace("-", ""))
    # secureBoot is written even when false: KubeVirt's default is true.
    efi = {"efi": {"secureBoot": _secure_boot(source, caps)}}
    return {
        "uuid": uuid,
        # As the guest reads it from VMware's SMBIOS: licences and inventories of guests hang on it.
        "serial": f"VMware-{' '.join(octets[:8])}-{' '.join(octets[8:])}",
        "bootloader": efi if caps.firmware is Firmware.EFI else {"bios": {}},
    }


def _features(source: SourceVM, caps: Caps) -> dict[str, Any]:
    # KubeVirt refuses Secure Boot without SMM, which is what keeps the guest from rewriting its own keys.
    smm = {"smm": {"enabled": True}} if _secure_boot(source, caps) else {}
    return {"acpi": {"enabled": True}, **smm}


def _clock(caps: Caps) -> dict[str, Any]:
    """An RTC in local time needs the guest's zone, which no document names, and KubeVirt has no `localtime`.

    A given offset, even 0, makes the clock keep what the guest sets across its reboots, so that a guest in
    local time is wrong at most until its first time synchronisation; without one it is reset every time.
    """
    return {"utc": {} if caps.rtc == "utc" else {"offsetSeconds": 0}}


def _cpu(source: SourceVM) -> dict[str, int]:
    """Sockets and cores as in vSphere, which writes 0 cores per socket for "chosen at power-on"."""
    if not 1 <= source.cpus <= MAX_CPUS:
        raise UsageError(f"{source.cpus} CPUs", remedy=f"a target VM has 1 to {MAX_CPUS}")
    cores = source.cores_per_socket
    if cores < 1 or source.cpus % cores:
        cores = 1
    return {"sockets": source.cpus // cores, "cores": cores, "threads": 1}


def _memory(source: SourceVM) -> str:
    if not MiB <= source.memory <= MAX_MEMORY:
        raise UsageError(f"{source.memory} bytes of memory", remedy="a target VM has 1 MiB to 1 PiB")
    if source.memory % GiB == 0:
        return f"{source.memory // GiB}Gi"
    return f"{-(-source.memory // MiB)}Mi"


def _devices(source: SourceVM, caps: Caps, networks: list[dict[str, Any]]) -> dict[str, Any]:
    if caps.boot_disk not in range(len(source.disks)):
        raise UsageError(
            f"the guest boots from disk {caps.boot_disk} and the source has {len(source.disks)}",
            remedy="use the source.json and the conversion result of the same VM",
        )
    return {
        "autoattachPodInterface": False,  # a VM without NICs stays without
        "autoattachMemBalloon": caps.balloon,
        "disks": [wiring.disk(i, disk, caps) for i, disk in enumerate(source.disks)],
        "interfaces": [
            wiring.interface(nic, network, caps) for nic, network in zip(source.nics, networks, strict=True)
        ],
        **({"rng": {}} if caps.rng else {}),
        # A TPM that forgets is worse than none: the guest's disk keys are sealed in it.
        **({"tpm": {"persistent": True}} if source.tpm else {}),
    }
