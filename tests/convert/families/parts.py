"""Of what phony guests are made: kernels, programs and databases, as distributions lay them out."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.convert.memory import Memory
from transferd.model import Firmware

ROOT = "6d2a1c3e-0000-4000-8000-0000000000aa"
BOOT = "6d2a1c3e-0000-4000-8000-0000000000bb"
MACHINE = "0123456789abcdef0123456789abcdef"
PROGRAM = "\x7fELF"


@dataclass(frozen=True)
class Family:
    """`kernel`: version of the default kernel; `versions`: of all. `entries`: how many the menu has."""

    files: dict[str, str | bytes]
    kernel: str
    links: dict[str, str] = field(default_factory=dict)
    firmware: Firmware = Firmware.BIOS
    distro: str | None = None
    init: str = "systemd"
    packages: str | None = None
    initramfs: str | None = None
    network: tuple[str, ...] = ()
    loaders: tuple[str, ...] = ("grub2",)
    selinux: str | None = None
    versions: tuple[str, ...] = ()
    entries: int = 1
    root: str = f"root=UUID={ROOT}"

    @property
    def esp(self) -> str | None:
        if self.firmware is Firmware.BIOS:
            return None
        return "/boot" if any(path.startswith("/boot/EFI/") for path in self.files) else "/boot/efi"

    def tree(self) -> Memory:
        return Memory(dict(self.files), dict(self.links))


def os_release(ident: str, version: str, name: str) -> dict[str, str]:
    told = f'NAME="{name}"\nID={ident}\nVERSION_ID="{version}"\nPRETTY_NAME="{name} {version}"\n'
    return {"/etc/os-release": told}


def kernel(
    version: str, image: str, initrd: str, *, folder: str = "/usr/lib/modules", **beside: str
) -> dict[str, str | bytes]:
    """A kernel with its initramfs and modules. `beside`: more files in its folder of modules."""
    more = {f"{folder}/{version}/{name}": content for name, content in beside.items()}
    modules = {f"{folder}/{version}/modules.dep": "", f"{folder}/{version}/modules.builtin": ""}
    return {image: bzimage(version), initrd: b"070701", **modules, **more}


def bzimage(version: str) -> bytes:
    """The start of a kernel image for x86: boot protocol header with the version's place (x86/boot.rst)."""
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    text = f"{version} (builder@host) #1 SMP".encode() + b"\0"
    head[0x300 : 0x300 + len(text)] = text
    return bytes(head)


def red_hat_kernel(version: str, **options: str) -> dict[str, str | bytes]:
    boot = {f"/boot/.vmlinuz-{version}.hmac": "0", f"/boot/symvers-{version}.gz": "0"}
    return {
        **kernel(version, f"/boot/vmlinuz-{version}", f"/boot/initramfs-{version}.img", **options),
        **boot,
    }


def suse_kernel(version: str) -> dict[str, str | bytes]:
    made = kernel(version, f"/boot/vmlinuz-{version}", f"/boot/initrd-{version}", folder="/lib/modules")
    return {**made, f"/boot/symvers-{version}.gz": "0", f"/boot/vmlinux-{version}.gz": "debug"}


def debian_kernel(version: str) -> dict[str, str | bytes]:
    made = kernel(version, f"/boot/vmlinuz-{version}", f"/boot/initrd.img-{version}", folder="/lib/modules")
    return {**made, f"/var/lib/dpkg/info/linux-image-{version}.list": f"/boot/vmlinuz-{version}\n"}


def programs(*paths: str) -> dict[str, str]:
    return dict.fromkeys(paths, PROGRAM)


def environment(**values: str) -> str:
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    return ("# GRUB Environment Block\n" + lines).ljust(1024, "#")


SYSTEMD = {"/usr/lib/systemd/systemd": PROGRAM, "/usr/lib/systemd/libsystemd-shared-252.so": PROGRAM}
SYSTEMD_INIT = {"/sbin/init": "/usr/lib/systemd/systemd"}
RPM = {"/var/lib/rpm/rpmdb.sqlite": b"\0 not a database", **programs("/usr/bin/rpm")}
DPKG = {"/var/lib/dpkg/status": "Package: base-files\nStatus: install ok installed\n"}
DRACUT = programs("/usr/bin/dracut")
ENFORCING = {
    "/etc/selinux/config": "# how\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
    "/etc/selinux/targeted/contexts/files/file_contexts": "/.*\tsystem_u:object_r:default_t:s0\n",
}
RED_HAT = {**SYSTEMD, **RPM, **DRACUT, **ENFORCING}
