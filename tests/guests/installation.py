"""Everything that a recipe means, as one value: what is installed, written and run, and where.

`plan` is pure. builder.py carries a plan out without deciding anything, so the digest of a plan (and of the
builder) says which cached guest is still the one that its recipe describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.boot import VMWARE_SLOTS, Adapter
from tests.guests import layouts, networks
from tests.guests.layouts import Command, Layout
from tests.guests.recipes import RECIPES, Recipe
from tests.guests.tree import DISK_ORDER
from transferd.model import Firmware

PARTS = Path(__file__).parent / "parts"
FILES = Path(__file__).parent / "files"

PACKAGES = {
    "raid1": ("mdadm",),
    "lvm": ("lvm2",),
    "xfs": ("xfsprogs",),
    "btrfs": ("btrfs-progs",),
    Firmware.BIOS: ("grub-pc",),
    Firmware.EFI: ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed", "dosfstools"),
}
# Which packages bring LUKS into the initramfs, by the tool that builds it; dracut's is systemd's, which has
# a package of its own since trixie.
LUKS_PACKAGES = {"initramfs-tools": ("cryptsetup-initramfs",), "dracut": ("cryptsetup", "systemd-cryptsetup")}
SECOND_KERNEL = "linux-image-rt-amd64"
DRIVERS = {
    Adapter.PVSCSI: ("sd_mod", "vmw_pvscsi"),
    Adapter.AHCI: ("sd_mod", "ahci"),
    Adapter.NVME: ("nvme",),
    "raid1": ("raid1",),
    "luks": ("dm_crypt", "aes_generic", "xts", "sha256_generic", "algif_skcipher"),
    "lvm": ("dm_mod",),
}
# dracut gives up after 180 s by default, and a control that does not boot should say so earlier.
IMPATIENCE = "rd.timeout=45 rd.retry=30"


@dataclass(frozen=True)
class File:
    content: str
    mode: int = 0o644


@dataclass(frozen=True)
class Nic:
    mac: str
    slot: int
    name: str


@dataclass(frozen=True)
class Installation:
    """`inside` runs in the root folder on this machine; `finish` in the mounted guest; `last` beside it."""

    recipe: Recipe
    layout: Layout
    packages: tuple[str, ...]
    files: tuple[tuple[str, File], ...]
    inside: tuple[Command, ...]
    finish: tuple[Command, ...]
    last: tuple[Command, ...]
    nics: tuple[Nic, ...]


def plan(recipe: Recipe) -> Installation:
    return Installation(
        recipe=recipe,
        layout=layouts.layout(recipe),
        packages=_packages(recipe),
        files=tuple(sorted(_files(recipe).items())),
        inside=(*_services(recipe), _initramfs(recipe)),
        finish=_boot_loader(recipe),
        last=_snapshot() if recipe.root == "btrfs" else (),
        nics=nics(recipe),
    )


def nics(recipe: Recipe) -> tuple[Nic, ...]:
    """00:50:56:00-3f is VMware's range for addresses given by hand."""
    at = RECIPES.index(recipe)
    names = [link.name for link in recipe.network.links if link.kind == "nic"]
    return tuple(Nic(f"00:50:56:2f:{at:02x}:{n:02x}", VMWARE_SLOTS[n], name) for n, name in enumerate(names))


def _packages(recipe: Recipe) -> tuple[str, ...]:
    wanted = [*PACKAGES[recipe.firmware], *networks.PACKAGES[recipe.network.stack], recipe.initramfs]
    for part in (*recipe.layers, recipe.root):
        wanted += LUKS_PACKAGES[recipe.initramfs] if part == "luks" else PACKAGES.get(part, ())
    return (*wanted, *([SECOND_KERNEL] if recipe.kernels > 1 else []))


def _files(recipe: Recipe) -> dict[str, File]:
    texts = {
        "etc/hostname": f"{recipe.name}\n",
        "etc/hosts": f"127.0.0.1 localhost {recipe.name}\n",
        "etc/modprobe.d/disk-order.conf": DISK_ORDER,
        "etc/default/grub": _grub_defaults(recipe),
        "usr/local/etc/addresses": "".join(f"{a}\n" for link in recipe.network.links for a in link.addresses),
        "var/lib/first-boot": "",
        "etc/systemd/system/identity.service": (FILES / "identity.service").read_text(),
        "etc/systemd/system/identity.service.d/settle.conf": (PARTS / "settle.conf").read_text(),
        "etc/systemd/system/first-boot.service": (PARTS / "first-boot.service").read_text(),
        **_initramfs_files(recipe),
    }
    made = {path: File(content) for path, content in texts.items()}
    secret = ("system-connections", "netplan", "keys")
    for path, content in {**networks.files(recipe.network), **layouts.files(recipe)}.items():
        made[path] = File(content, 0o600 if any(word in path for word in secret) else 0o644)
    made["usr/local/sbin/identity"] = File((FILES / "identity.sh").read_text(), 0o755)
    if recipe.initramfs == "dracut":
        made["usr/local/sbin/dracut-here"] = File((PARTS / "dracut-here.sh").read_text(), 0o755)
    made["usr/local/sbin/settle"] = File((PARTS / "settle.sh").read_text(), 0o755)
    return made


def _grub_defaults(recipe: Recipe) -> str:
    words = ["console=ttyS0,115200"] + ([IMPATIENCE] if recipe.initramfs == "dracut" else [])
    lines = ["GRUB_DEFAULT=0", "GRUB_TIMEOUT=0", "GRUB_DISTRIBUTOR=Debian", 'GRUB_CMDLINE_LINUX_DEFAULT=""']
    lines += [f'GRUB_CMDLINE_LINUX="{" ".join(words)}"', "GRUB_DISABLE_RECOVERY=true"]
    lines += ["GRUB_DISABLE_OS_PROBER=true"]
    # The appliance, where grub's menu is made, has no NVMe names.
    if recipe.names == "letter" and recipe.adapter is not Adapter.NVME:
        lines.append("GRUB_DISABLE_LINUX_UUID=true")
    if recipe.firmware is Firmware.BIOS:
        lines += ["GRUB_TERMINAL=serial", 'GRUB_SERIAL_COMMAND="serial --speed=115200"']
    return "\n".join([*lines, ""])


def _drivers(recipe: Recipe) -> tuple[str, ...]:
    layers = [driver for layer in recipe.layers for driver in DRIVERS[layer]]
    return tuple(dict.fromkeys((*DRIVERS[recipe.adapter], "vmxnet3", "ext4", recipe.root, *layers)))


def _initramfs_files(recipe: Recipe) -> dict[str, str]:
    if recipe.initramfs == "dracut":
        extra = ' install_items+=" /etc/keys/root.key "\n' if "luks" in recipe.layers else ""
        return {"etc/dracut.conf.d/10-this-host.conf": f'hostonly="yes"\nhostonly_cmdline="no"\n{extra}'}
    found = {
        "etc/initramfs-tools/conf.d/modules": f"MODULES={'most' if recipe.virtio else 'list'}\n",
        "etc/initramfs-tools/modules": "".join(f"{driver}\n" for driver in _drivers(recipe)),
        # On the real machine the tool finds this out from the root's device, which does not exist here yet.
        "etc/initramfs-tools/conf.d/fstype": f"FSTYPE={recipe.root}\n",
        "etc/initramfs-tools/conf.d/resume": f"RESUME={layouts.layout(recipe).swap}\n",
    }
    if "luks" in recipe.layers:
        found["etc/cryptsetup-initramfs/conf-hook"] = 'KEYFILE_PATTERN="/etc/keys/*.key"\nASKPASS=n\n'
        found["etc/initramfs-tools/conf.d/umask"] = "UMASK=0077\n"
    return found


def _services(recipe: Recipe) -> tuple[Command, ...]:
    units = (*networks.UNITS[recipe.network.stack], "identity.service", "first-boot.service")
    return (("systemctl", "enable", "--quiet", *units),)


def _initramfs(recipe: Recipe) -> Command:
    """For every kernel, as on the VMware machine: with its disk adapter's driver and nothing of VirtIO."""
    if recipe.initramfs == "initramfs-tools":
        return ("update-initramfs", "-c", "-k", "all")
    modules = {"raid1": "mdraid", "luks": "crypt", "lvm": "lvm"}
    wanted = " ".join(modules[layer] for layer in recipe.layers)
    return (
        *(
            "/usr/local/sbin/dracut-here",
            "--force",
            "--regenerate-all",
            "--add-drivers",
            " ".join(_drivers(recipe)),
        ),
        *("--omit-drivers", "virtio virtio_blk virtio_net virtio_pci virtio_ring virtio_scsi"),
        *("--filesystems", recipe.root),
        *(("--add", wanted) if wanted else ()),
    )


def _boot_loader(recipe: Recipe) -> tuple[Command, ...]:
    if recipe.firmware is Firmware.BIOS:
        disks = ("/dev/sda", "/dev/sdb")[: recipe.disks]
        installs: tuple[Command, ...] = tuple(("grub-install", "--target=i386-pc", disk) for disk in disks)
    else:
        extra = ("--force-extra-removable",) if recipe.fallback else ()
        place = ("--efi-directory=/boot/efi", "--no-nvram")
        installs = (("grub-install", "--target=x86_64-efi", *place, *extra),)
    return (*installs, ("update-grub",))


def _snapshot() -> tuple[Command, ...]:
    """As snapper makes them: a whole read-only root that is not the root."""
    where = "/sysroot/.snapshots/1"
    return (
        ("mkdir", where),
        ("btrfs", "subvolume", "snapshot", "-r", "/sysroot", f"{where}/snapshot"),
    )
