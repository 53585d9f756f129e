"""A guest's files held in memory: the Tree that pure tests give to steps."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile

from convert.devices import Devices, FileSystem
from convert.inspection import Inspection, Kernel
from convert.wishes import Wishes
from transferd.errors import ConversionError
from transferd.model import Firmware, PowerState, SourceDisk, SourceNic, SourceVM

ROOT_UUID = "5a3c9f0e-0000-4000-8000-000000000001"
SWAP_UUID = "5a3c9f0e-0000-4000-8000-000000000002"
DATA_UUID = "5a3c9f0e-0000-4000-8000-000000000003"
DEVICES = Devices(
    (
        FileSystem("/dev/sda1", "ext4", 0, 1, ROOT_UUID, "root"),
        FileSystem("/dev/sda2", "swap", 0, 2, SWAP_UUID),
        FileSystem("/dev/sdb1", "ext4", 1, 1, DATA_UUID, "data"),
        FileSystem("/dev/vg0/lv-home", "xfs", None, None, "5a3c9f0e-0000-4000-8000-000000000004"),
    )
)
KERNEL = Kernel(
    "6.1.0-50-amd64", "/boot/vmlinuz", "/lib/modules/6.1.0-50-amd64", "/boot/initrd.img", default=True
)


class Memory:
    """`content`: path -> bytes or text; `links`: path -> target; `space`: free bytes; `labels`: path ->
    SELinux context."""

    def __init__(
        self,
        content: dict[str, str | bytes],
        links: dict[str, str] | None = None,
        space: int = 1 << 40,
        labels: dict[str, str] | None = None,
    ):
        self.content = {
            path: data.encode() if isinstance(data, str) else data for path, data in content.items()
        }
        self.links = links or {}
        self.space = space
        self.labels = labels or {}

    def read(self, path: str, limit: int = 1 << 20) -> bytes | None:
        data = self.content.get(path)
        if data is not None and len(data) > limit:
            raise ConversionError(f"{path} is too large")
        return data

    def tail(self, path: str, length: int) -> bytes:
        return self.content.get(path, b"")[-length:]

    def exists(self, path: str) -> bool:
        return path in self.content or path in self.links or bool(self.names(path))

    def link(self, path: str) -> str | None:
        return self.links.get(path)

    def names(self, folder: str) -> list[str]:
        inside = folder.rstrip("/") + "/"
        below = [
            path.removeprefix(inside) for path in (*self.content, *self.links) if path.startswith(inside)
        ]
        return sorted({path.partition("/")[0] for path in below})

    def fetch(self, path: str, limit: int) -> Path:
        """The caller removes the file, as it does with a real guest's."""
        with NamedTemporaryFile(delete=False) as local:
            local.write(self.read(path, limit) or b"")
        return Path(local.name)

    def mode(self, path: str) -> int:
        return 0o644 if path in self.content else 0o755

    def free(self, _folder: str) -> int:
        return self.space

    def label(self, path: str) -> str | None:
        return self.labels.get(path)

    def after(self, changes) -> Memory:
        """This tree with the changes made."""
        content, links, labels = dict(self.content), dict(self.links), dict(self.labels)
        for change in changes:
            if change.label is not None:
                labels[change.path] = change.label
            if change.action == "write":
                content[change.path] = change.data
            elif change.action == "append":
                content[change.path] += change.data
            elif change.action == "symlink":
                links[change.path] = change.data.decode()
            elif change.action == "remove":
                content.pop(change.path, None)
                links.pop(change.path, None)
        return Memory(content, links, self.space, labels)


def inspection(**different) -> Inspection:
    facts = {
        "devices": DEVICES,
        "root": DEVICES.filesystems[0],
        "mounted": DEVICES.filesystems[:1],
        "release": {"ID": "debian"},
        "arch": "x86_64",
        "firmware": Firmware.BIOS,
        "init": "systemd",
        "systemd": 252,
        "network": ("ifupdown",),
        "initramfs": "initramfs-tools",
        "bootloader": "grub2",
        "grub_config": "/boot/grub/grub.cfg",
        "kernels": (KERNEL,),
        "agent": False,
        "rtc": "utc",
        "boot_disk": 0,
    }
    return Inspection(**{**facts, **different})


def nic(mac: str = "00:50:56:00:00:01", *, slot: int | None = None, ips: tuple[str, ...] = ()) -> SourceNic:
    return SourceNic(
        key=4000,
        label="Network adapter",
        mac=mac,
        adapter="vmxnet3",
        network="VM Network",
        slot=slot,
        ips=list(ips),
    )


def source(*nics: SourceNic, capacities: tuple[int, ...] = (1 << 30, 1 << 30)) -> SourceVM:
    return SourceVM(
        name="web",
        moref="vm-1",
        instance_uuid="52000000-0000-4000-8000-000000000001",
        bios_uuid="42000000-0000-4000-8000-000000000001",
        power_state=PowerState.OFF,
        firmware=Firmware.BIOS,
        cpus=1,
        cores_per_socket=1,
        memory=1 << 30,
        guest_id="debian12_64Guest",
        guest_name="Debian",
        tools="guestToolsRunning",
        disks=[
            SourceDisk(
                key=2000 + at,
                label=f"disk {at}",
                controller="pvscsi",
                bus=0,
                unit=at,
                capacity=size,
                path="[ds] x",
            )
            for at, size in enumerate(capacities)
        ],
        nics=list(nics),
    )


def wishes(*nics: SourceNic, capacities: tuple[int, ...] = (1 << 30, 1 << 30), **different) -> Wishes:
    return Wishes(source(*nics, capacities=capacities), **different)
