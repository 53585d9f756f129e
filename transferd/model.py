"""The documents that processes exchange, and that users read: one definition for all of them.

Two spellings on purpose. Documents that people write (`vcenter.yaml`, `migration.yaml`) use camelCase as
Kubernetes users expect; documents that programs write (`source.json`, results) use snake_case. Unknown
keys are errors everywhere: a misspelt setting must not be ignored silently.

Sizes and offsets are bytes (int), times are seconds (float), MAC addresses are lower case with colons.
Every document carries `schema: 1`; a reader refuses what it does not know.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Document(BaseModel):
    """Base of what programs write."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> str:
        """One indented JSON text, keys as documented."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


class Written(Document):
    """Base of what people write (YAML, camelCase)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, alias_generator=to_camel)


# --- the source ------------------------------------------------------------------------------------------


class Firmware(StrEnum):
    BIOS = "bios"
    EFI = "efi"


class PowerState(StrEnum):
    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"


class SourceDisk(Document):
    """One virtual disk as vSphere describes it."""

    key: int = Field(description="vSphere device key, stable for the life of the disk")
    label: str
    controller: str = Field(description="pvscsi, lsilogic, lsisas, buslogic, ahci, ide or nvme")
    bus: int = Field(description="controller bus number")
    unit: int
    capacity: int = Field(description="bytes")
    path: str = Field(description="backing file, `[datastore] folder/name.vmdk`")
    object_id: str | None = Field(None, description="vDiskObjectId: unique within the vCenter")
    uuid: str | None = None
    thin: bool | None = None
    mode: str = "persistent"


class SourceNic(Document):
    """One virtual network adapter."""

    key: int
    label: str
    mac: str
    adapter: str = Field(description="vmxnet3, e1000, e1000e, ...")
    network: str
    slot: int | None = Field(None, description="ethernetN.pciSlotNumber; 192 makes a Linux guest say ens192")
    connected: bool = True
    ips: list[str] = Field(default_factory=list, description="addresses that VMware Tools reported")


class Concern(Document):
    """Something about a VM that its migration has to do with."""

    id: str = Field(description="stable: what programs select by")
    category: Literal["critical", "warning", "information"]
    label: str
    assessment: str = Field(description="what it means for this VM")
    remedy: str


class SourceVM(Document):
    """What `transferd inventory --vm NAME --json` prints and every later stage reads."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    name: str
    moref: str
    host: str = Field("", description="moref of the ESXi host that runs it, or would")
    instance_uuid: str
    bios_uuid: str
    power_state: PowerState
    firmware: Firmware
    secure_boot: bool = False
    tpm: bool = False
    cpus: int
    cores_per_socket: int
    memory: int = Field(description="bytes")
    guest_id: str
    guest_name: str
    tools: str = Field(description="guest.toolsRunningStatus, for example guestToolsRunning")
    cbt_enabled: bool = False
    has_snapshots: bool = False
    disks: list[SourceDisk]
    nics: list[SourceNic]
    concerns: list[Concern] = Field(default_factory=list, description="of one VM; the gravest first")


# --- the result of a copy --------------------------------------------------------------------------------


class Verify(Document):
    """How the copy was proven. `mode`: target, sample:PCT, full, none."""

    mode: str
    blocks: int = Field(0, description="4 MiB blocks of the target read back and compared")
    mismatched: int = 0
    healed: int = Field(0, description="blocks that differed, were copied again and then agreed")
    source_blocks: int = Field(0, description="blocks of the source read again and compared")
    audited_bytes: int = Field(0, description="bytes read although the extents called them empty")


class Latency(Document):
    """How long one kind of operation took, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class DiskResult(Document):
    """One disk's copy. `digest` is `blake3-4m:HEX` over exactly `size` bytes."""

    label: str
    target: str
    size: int
    data_bytes: int = Field(description="bytes that the extents call data, or of a round, that changed")
    read_bytes: int
    written_bytes: int
    zero_bytes: int = Field(description="bytes that are zero in the disk, read or known from extents")
    skipped_bytes: int = Field(description="bytes never written because the target already read zero")
    digest: str
    verify: Verify
    rounds: list[dict[str, Any]] = Field(default_factory=list)
    elapsed_s: float
    retries: int = Field(0, description="reads asked again")
    reconnects: int = Field(0, description="sessions with the source that were lost and opened anew")
    overloads: int = Field(0, description="reads that the source had no memory for")
    resumed_blocks: int = Field(0, description="blocks that an earlier attempt had copied")
    sessions: int = Field(0, description="most sessions with the source at once")
    depth: int = Field(0, description="most reads in flight that were allowed")
    latency: dict[str, Latency] = Field(default_factory=dict, description="read, write, sync, verify")
    warnings: list[str] = Field(default_factory=list)
    change_id: str | None = Field(None, description="what transferd delta --since takes to go on from here")


class Result(Document):
    """How a command ended."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    outcome: Literal["ok", "failed"]
    error: dict[str, Any] | None = None
    disks: list[DiskResult] = Field(default_factory=list)


# --- the result of a conversion --------------------------------------------------------------------------


class BlockBus(StrEnum):
    VIRTIO = "virtio"
    SATA = "sata"


class NicModel(StrEnum):
    VIRTIO = "virtio"
    E1000E = "e1000e"


class GuestKernel(Document):
    """One kernel and how VirtIO was proven for it: builtin, initramfs, appended, or missing."""

    version: str
    virtio: Literal["builtin", "initramfs", "appended", "missing"]
    default: bool = False


class Guest(Document):
    """What inspection found."""

    found: bool
    distro: str | None = None
    version: str | None = None
    product: str | None = None
    arch: str | None = None
    root: str | None = Field(None, description="root file system by UUID")
    firmware: Firmware | None = None
    init: str | None = None
    network: list[str] = Field(default_factory=list, description="network stacks present")
    initramfs: str | None = Field(None, description="initramfs tool: initramfs-tools, dracut, ...")
    bootloader: str | None = Field(None, description="the boot loader that runs")
    bootloaders: list[str] = Field(default_factory=list, description="all boot loaders present")
    packages: str | None = Field(None, description="package manager: dpkg, rpm, apk, pacman")
    selinux: Literal["enforcing", "permissive", "disabled"] | None = None
    lvm: bool = False
    md: bool = False
    luks: bool = False
    kernels: list[GuestKernel] = Field(default_factory=list)


class Caps(Document):
    """Guest capabilities: the hardware that the converted guest can drive."""

    block: BlockBus
    net: NicModel
    machine: Literal["q35"] = "q35"
    firmware: Firmware
    rng: bool = False
    balloon: bool = False
    agent: bool = False
    rtc: Literal["utc", "localtime"] = "utc"
    boot_disk: int = 0

    @classmethod
    def without_virtio(cls, firmware: Firmware, *, boot_disk: int = 0) -> Self:
        """What every x86 guest can drive: for a guest that was not understood, or not converted."""
        return cls(block=BlockBus.SATA, net=NicModel.E1000E, firmware=firmware, boot_disk=boot_disk)


class NicName(Document):
    """The name that a NIC has in the guest and keeps; `name` is null where nothing proved one."""

    mac: str
    name: str | None
    evidence: list[str]


class Step(Document):
    name: str
    changes: int
    elapsed_s: float


class Warning_(Document):  # noqa: N801 (Warning is a builtin)
    """Something the operator should know: a stable code, what was seen, what to do."""

    code: str
    message: str
    remedy: str | None = None


class Check(Document):
    """One fact re-read from the changed disks by a fresh reader.

    A check that is not `ok` ends the conversion. One that is `ok` but not `proven` does not: the detail says
    what could not be shown, and the guest can come up without it.
    """

    name: str
    ok: bool
    detail: str
    proven: bool = True


class Rehearsal(Document):
    """A boot of the converted guest on overlays that are thrown away: how far it came, and what tells so.

    login: a login prompt on the serial console; sentinel: the text that was asked for; failed: the guest said
    that it cannot go on, or did not say what was asked for; unknown: it said nothing that proves either.
    """

    outcome: Literal["login", "sentinel", "failed", "unknown"]
    seen: str = Field(description="what decided")
    seconds: float
    serial_log: str = Field(description="path; the guest's own words: escape them before showing them")
    screenshot: str | None = Field(None, description="path of a PNG: the screen when it was decided")
    last_lines: list[str] = Field(default_factory=list, description="of the serial console, escaped")


class DiskRange(Document):
    """Bytes of one disk; `disk` is its position in the argument list, counted from 0."""

    disk: int
    start: int
    length: int


class Untouched(Document):
    """Blocks that conversion did not write, re-read and compared with the copy's digests."""

    checked: int
    mismatched: int


class RoundState(Document):
    """One round of a migration: all disks as they were at one moment."""

    number: int
    final: bool = False
    snapshot_name: str | None = Field(None, description="None: the VM is off and read without a snapshot")
    snapshot: str | None = Field(None, description="its moref, once it is taken")
    changes: dict[int, str | None] = Field(default_factory=dict, description="disk key -> changeId")
    began: float = Field(description="seconds since 1970")
    snapshot_s: float = 0.0
    copy_s: float = 0.0
    removal_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    copied: bool = False


class TimedStep(Document):
    """One step of a cutover, in seconds from its beginning to its end."""

    step: str
    seconds: float


class ConversionResult(Result):
    """What `transferd-convert apply` writes, and `transferd migrate` after it."""

    guest: Guest
    caps: Caps
    nics: list[NicName] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list)
    warnings: list[Warning_] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    rehearsal: Rehearsal | None = Field(None, description="None: the converted guest was not booted")
    written: list[DiskRange] = Field(default_factory=list)
    digest_converted: list[str] = Field(default_factory=list, description="one per disk, in order")
    untouched: Untouched | None = None
    rounds: list[RoundState] = Field(
        default_factory=list, description="of a migration, the last is the cutover's"
    )
    downtime_s: float | None = Field(None, description="from asking the source to shut down to the result")
    downtime: list[TimedStep] = Field(default_factory=list, description="downtime_s, split by step")


# --- what people write -----------------------------------------------------------------------------------


class Vddk(Written):
    """Where VMware's library is and how it may reach the disks."""

    libdir: str
    transports: str = Field("nbdssl:nbd", description="VDDK 8 crashes in pods when this is left unset")
    config: dict[str, str] = Field(default_factory=dict, description="lines of VDDK's own ini file")


class VCenter(Written):
    """`vcenter.yaml`. Exactly one of caFile, thumbprint, insecure: true."""

    url: str
    username: str
    password_file: str
    ca_file: str | None = None
    thumbprint: str | None = Field(None, description="SHA-1 or SHA-256 of the server certificate")
    insecure: bool = False
    vddk: Vddk | None = None


class VMRef(Written):
    """Exactly one of the three."""

    name: str | None = None
    moref: str | None = None
    instance_uuid: str | None = None


class Precopy(Written):
    """Warm rounds: one after another until the predicted downtime is small enough, or one each interval."""

    interval: str | None = Field(None, description="between the beginnings of two rounds; default 1h")
    downtime_target: str | None = Field(None, description="cut over when less is predicted, for example 60s")
    rounds: int = Field(2, ge=1, le=1000, description="at least, before the last; the first is the copy")


class Shutdown(Written):
    """How a running source is stopped: `fail` never cuts power, `hard` does after the timeout."""

    policy: Literal["fail", "hard"] = "fail"
    timeout: str = "5m"


class RehearsalWishes(Written):
    """How a rehearsal's boot is judged. `anyway`: cut over although it failed."""

    sentinel: str | None = Field(
        None, min_length=1, max_length=256, description="text on the serial console; default: a login prompt"
    )
    timeout: str | None = Field(None, description="for the boot; default 3m with KVM, 10m without")
    anyway: bool = False


class ManifestRequest(Written):
    """What the target cluster needs to know: claim and network names that only the operator has."""

    name: str
    namespace: str = "default"
    network_map: dict[str, str] = Field(
        default_factory=dict, description="source network -> `pod` or `namespace/net-attach-def`"
    )
    claims: list[str] = Field(default_factory=list, description="PVC of each disk, in disk order")


class MigrationSpec(Written):
    """`migration.yaml`: one VM's journey."""

    schema_: Literal[1] = Field(alias="schema")
    vcenter: str = Field(description="path of vcenter.yaml, relative to this file")
    vm: VMRef
    mode: Literal["cold", "warm"] = "cold"
    targets: dict[int, str] = Field(default_factory=dict, description="disk key -> target path")
    target_dir: str | None = None
    state: str | None = None
    shutdown: Shutdown = Shutdown()
    precopy: Precopy = Precopy()
    cutover: str = Field("now", description="now, signal (SIGUSR1), or a time as RFC 3339")
    convert: Literal["required", "auto", "none"] = "auto"
    rehearse: bool = Field(
        default=False, description="boot the converted guest on overlays, and only then cut over, or commit"
    )
    rehearsal: RehearsalWishes = RehearsalWishes()
    verify: str = Field("target", description="target, sample:PCT, full or none, as of transferd copy")
    manifest: ManifestRequest | None = None


class WorkerSpec(MigrationSpec):
    """What one pod does of a migration: `transferd worker --spec FILE`.

    `epoch` rises with every attempt at anything; `attempt` names this attempt at this stage: asked for again,
    it answers with what it did.
    """

    stage: Literal["probe", "round", "cutover", "seal", "cleanup"]
    round: int = Field(0, ge=0, description="which round, from 0")
    epoch: int = Field(ge=1)
    attempt: int = Field(1, ge=1)
