"""From a recipe to its disks: partition tables, the layers on them, file systems, and the files naming them.

All of it is data: `Layout.prepare` is a list of commands that appliance.py runs where the disks are called
/dev/sda and /dev/sdb, as on VMware's SCSI and SATA adapters. UUIDs are derived from the guest's name, so that
a rebuilt guest is the same guest.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from tests.boot import Adapter
from tests.guests.recipes import Recipe
from transferd.model import Firmware

MIB = 1 << 20
SECTOR = 512

VOLUMES = {"root": 1200, "home": 48, "swap": 64}  # of the volume group
PARTITIONS = {"esp": 64, "boot": 320, "root": 1200, "swap": 64}
PHYSICAL = 1400  # a partition that holds layers
KINDS = {"esp": "U", "boot": "L", "root": "L", "swap": "S"}  # sfdisk's shortcuts for types
# pvscsi is behind the first root port of tests.boot's VMware hardware.
BY_PATH = "/dev/disk/by-path/pci-0000:01:00.0-scsi-0:0:0:0-part"
MAPPED = "/dev/mapper/vg0-"

Command = tuple[str, ...]


@dataclass(frozen=True)
class Partition:
    """`start` and `size` in bytes; `device` is its name in the appliance, and on VMware but for NVMe."""

    role: str
    number: int
    start: int
    size: int

    @property
    def device(self) -> str:
        return f"/dev/sda{self.number}"


@dataclass(frozen=True)
class Mount:
    """`spec` is what fstab says; `source` is the appliance's name of the same thing."""

    point: str
    kind: str
    source: str
    spec: str
    options: str = "defaults"


@dataclass(frozen=True)
class Layout:
    """`tables` are sfdisk scripts, one for each disk; `prepare` makes everything that `mounts` mounts."""

    size: int
    partitions: tuple[Partition, ...]
    tables: tuple[str, ...]
    prepare: tuple[Command, ...]
    mounts: tuple[Mount, ...]
    swap: str
    luks: str = ""

    def partition(self, role: str) -> Partition:
        return next(part for part in self.partitions if part.role == role)


def identifier(recipe: Recipe, role: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{role}.{recipe.name}.transferd.invalid"))


def luks_key(recipe: Recipe) -> str:
    """64 hexadecimal digits without a newline: what the key file holds."""
    return hashlib.shake_256(f"the key of {recipe.name}".encode()).hexdigest(32)


def layout(recipe: Recipe) -> Layout:
    partitions = _partitions(recipe)
    base = next(part for part in partitions if part.role == "root")
    layers, top = _layers(recipe, base)
    swap_uuid = identifier(recipe, "swap")
    if "lvm" in recipe.layers:
        swap, swap_spec = "/dev/vg0/swap", f"{MAPPED}swap"
    else:
        part = next(part for part in partitions if part.role == "swap")
        swap, swap_spec = part.device, _spec(recipe, part, swap_uuid)
    mounts = _mounts(recipe, partitions, top)
    made = [_make(recipe, mount) for mount in mounts if mount.options.find("subvol=") < 0]
    if recipe.root == "btrfs":
        made += _subvolumes(recipe, top)
    return Layout(
        size=partitions[-1].start + partitions[-1].size + MIB + SECTOR,
        partitions=partitions,
        tables=tuple(_table(recipe, partitions, disk) for disk in range(recipe.disks)),
        prepare=(*layers, *made, ("mkswap", "--uuid", swap_uuid, swap)),
        mounts=mounts,
        swap=swap_spec,
        luks=f"{base.device.removeprefix('/dev/')}_crypt" if "luks" in recipe.layers else "",
    )


def files(recipe: Recipe) -> dict[str, str]:
    made = layout(recipe)
    rows = [f"{m.spec} {m.point} {m.kind} {m.options} 0 {0 if m.kind == 'btrfs' else 1}" for m in made.mounts]
    found = {"etc/fstab": "\n".join([*rows, f"{made.swap} none swap sw 0 0", ""])}
    if "luks" in recipe.layers:
        early = "initramfs" if recipe.initramfs == "initramfs-tools" else "x-initrd.attach"
        device = f"UUID={identifier(recipe, 'luks')}"
        found["etc/crypttab"] = f"{made.luks} {device} /etc/keys/root.key luks,{early}\n"
        found["etc/keys/root.key"] = luks_key(recipe)
    if "raid1" in recipe.layers:
        array = f"ARRAY /dev/md0 metadata=1.2 UUID={_md_uuid(recipe)}"
        found["etc/mdadm/mdadm.conf"] = f"HOMEHOST <system>\nMAILADDR root\n{array}\n"
    return found


def _partitions(recipe: Recipe) -> tuple[Partition, ...]:
    roles = ["esp"] if recipe.firmware is Firmware.EFI else []
    roles += ["boot"] if recipe.separate_boot else []
    roles += ["root"] if "lvm" in recipe.layers else ["root", "swap"]
    made, start = [], MIB
    for number, role in enumerate(roles, start=1):
        size = (PHYSICAL if role == "root" and recipe.layers else PARTITIONS[role]) * MIB
        made.append(Partition(role, number, start, size))
        start += size
    return tuple(made)


def _table(recipe: Recipe, partitions: tuple[Partition, ...], disk: int) -> str:
    gpt = recipe.firmware is Firmware.EFI
    named = identifier(recipe, f"disk{disk}")
    lines = [f"label: {'gpt' if gpt else 'dos'}", f"label-id: {named if gpt else '0x' + named[:8]}"]
    first = True
    for part in partitions:
        kind = KINDS[part.role]
        if part.role == "root" and recipe.layers:
            kind = {"raid1": "R", "lvm": "V"}.get(recipe.layers[0], "L")
        words = [f"start={part.start // SECTOR}", f"size={part.size // SECTOR}", f"type={kind}"]
        words += [f"uuid={identifier(recipe, f'disk{disk} {part.role}')}"] if gpt else []
        words += ["bootable"] if first and not gpt else []
        lines.append(", ".join(words))
        first = False
    return "\n".join([*lines, ""])


def _layers(recipe: Recipe, base: Partition) -> tuple[list[Command], str]:
    """The commands that build the layers, and the device that they end in."""
    commands: list[Command] = []
    device = base.device
    for layer in recipe.layers:
        if layer == "raid1":
            members = (f"/dev/sda{base.number}", f"/dev/sdb{base.number}")
            shape = ("--level=1", "--raid-devices=2", "--metadata=1.2", "--assume-clean", "--run")
            named = (f"--uuid={_md_uuid(recipe)}", f"--homehost={recipe.name}", "--name=0")
            commands.append(("mdadm", "--create", "/dev/md0", *shape, *named, *members))
            device = "/dev/md0"
        elif layer == "luks":
            # Little memory and few rounds: nobody attacks it, and the guest opens it without KVM.
            cost = ("--pbkdf=argon2id", "--pbkdf-memory=32768", "--pbkdf-force-iterations=4")
            fixed = ("--type=luks2", f"--uuid={identifier(recipe, 'luks')}", *cost)
            commands.append(("cryptsetup", "luksFormat", "--batch-mode", *fixed, device, "/run/root.key"))
            name = f"{base.device.removeprefix('/dev/')}_crypt"
            commands.append(("cryptsetup", "open", "--key-file=/run/root.key", device, name))
            device = f"/dev/mapper/{name}"
        else:
            commands += [("pvcreate", device), ("vgcreate", "vg0", device)]
            for volume, size in VOLUMES.items():
                commands.append(("lvcreate", "--yes", f"--size={size}m", f"--name={volume}", "vg0"))
            device = "/dev/vg0/root"
    return commands, device


def _mounts(recipe: Recipe, partitions: tuple[Partition, ...], top: str) -> tuple[Mount, ...]:
    """Parents before what is mounted in them."""
    found = {part.role: part for part in partitions}
    spec = f"UUID={identifier(recipe, 'root')}"
    if "lvm" in recipe.layers:
        spec = f"{MAPPED}root"
    elif not recipe.layers:
        spec = _spec(recipe, found["root"], identifier(recipe, "root"))
    if recipe.root == "btrfs":
        subvolumes = {"/": "@", "/home": "@home", "/.snapshots": "@snapshots"}
        mounts = [Mount(p, "btrfs", top, spec, f"defaults,subvol={name}") for p, name in subvolumes.items()]
    else:
        mounts = [Mount("/", recipe.root, top, spec)]
    if "boot" in found:
        named = _spec(recipe, found["boot"], identifier(recipe, "boot"))
        mounts.append(Mount("/boot", "ext4", found["boot"].device, named))
    if "esp" in found:
        named = f"UUID={_fat_id(recipe)}"
        mounts.append(Mount("/boot/efi", "vfat", found["esp"].device, named, "umask=0077"))
    if "lvm" in recipe.layers:
        mounts.append(Mount("/home", "ext4", "/dev/vg0/home", f"{MAPPED}home"))
    return tuple(mounts)


def _spec(recipe: Recipe, part: Partition, unique: str) -> str:
    named = f"/dev/nvme0n1p{part.number}" if recipe.adapter is Adapter.NVME else part.device
    return {"letter": named, "path": f"{BY_PATH}{part.number}", "uuid": f"UUID={unique}"}[recipe.names]


def _make(recipe: Recipe, mount: Mount) -> Command:
    role = {"/": "root", "/boot": "boot", "/home": "home", "/boot/efi": "esp"}[mount.point]
    unique = identifier(recipe, role)
    if mount.kind == "vfat":
        return ("mkfs.vfat", "-F", "32", "-i", _fat_id(recipe).replace("-", ""), mount.source)
    if mount.kind == "xfs":
        # What the oldest release's kernel and boot loader know.
        return ("mkfs.xfs", "-q", "-f", "-m", f"bigtime=0,inobtcount=0,uuid={unique}", mount.source)
    # Tables are written now: otherwise the guest's kernel would write them in the background of every boot.
    eager = "lazy_itable_init=0,lazy_journal_init=0"
    return ("mkfs.ext4", "-q", "-F", "-U", unique, "-E", eager, mount.source)


def _subvolumes(recipe: Recipe, device: str) -> list[Command]:
    made: list[Command] = [("mkfs.btrfs", "-q", "-f", "-U", identifier(recipe, "root"), device)]
    made += [("mkdir", "/run/top"), ("mount", device, "/run/top")]
    for name in ("@", "@home", "@snapshots"):
        made.append(("btrfs", "subvolume", "create", f"/run/top/{name}"))
    return [*made, ("umount", "/run/top")]


def _fat_id(recipe: Recipe) -> str:
    digits = identifier(recipe, "esp")[:8].upper()
    return f"{digits[:4]}-{digits[4:]}"


def _md_uuid(recipe: Recipe) -> str:
    """As mdadm writes it: four groups of eight digits."""
    digits = identifier(recipe, "md").replace("-", "")
    return ":".join(digits[at : at + 8] for at in range(0, 32, 8))
