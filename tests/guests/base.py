"""What all guests of one Debian release have in common: a root folder with a kernel, kept as an archive.

`archive(suite)` makes it by debootstrap the first time. It has initramfs-tools because the kernel's package
wants some tool; a guest that is to have dracut replaces it. Drivers that no virtual machine has hardware for
are left out: they are two thirds of a kernel package and would be copied, converted and read again in every
test.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from tests.guests import tree
from tests.guests.tools import run

# dbus: systemd-logind fails without it. open-vm-tools: it is a VMware guest.
PACKAGES = (
    *("linux-image-amd64", "initramfs-tools", "systemd-sysv", "udev", "kmod", "dbus", "iproute2"),
    *("e2fsprogs", "open-vm-tools"),
)
NO_SUCH_HARDWARE = (
    *("sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/net/wireless", "drivers/iio"),
    *("drivers/staging", "drivers/isdn", "drivers/bluetooth", "drivers/hwmon", "drivers/mtd", "drivers/usb"),
    *("drivers/net/ethernet/mellanox", "drivers/net/ethernet/broadcom", "drivers/net/ethernet/chelsio"),
    *("drivers/crypto", "drivers/input", "drivers/comedi", "drivers/platform", "drivers/leds"),
    "net/bluetooth",
)
UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/locale")
KEPT_OFF = (
    *tree.MASKED,
    *("systemd-networkd-wait-online.service", "NetworkManager-wait-online.service", "man-db.timer"),
)
DEADLINE = 900.0


def archive(cache: Path, suite: str) -> Path:
    """Call it under the cache's lock."""
    recipe = b"".join(Path(module).read_bytes() for module in (__file__, tree.__file__))
    key = hashlib.sha256(recipe).hexdigest()[:16]
    made = cache / f"base-{suite}-{key}.tar"
    if not made.exists():
        with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as scratch:
            root = Path(scratch) / "root"
            _install(root, suite, packages=cache / "packages")
            half_made = Path(scratch) / made.name
            run("tar", "-C", root, "--numeric-owner", "-cf", half_made, ".", deadline=DEADLINE)
            half_made.rename(made)
    return made


def remove_unread(root: Path) -> None:
    """What nobody reads in a guest: documentation, translations, drivers without hardware."""
    for modules in (root / "lib/modules").iterdir():
        for folder in NO_SUCH_HARDWARE:
            shutil.rmtree(modules / "kernel" / folder, ignore_errors=True)  # not every kernel has every one
        tree.inside(root, "depmod", modules.name, deadline=60)
    for name in UNREAD:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()


def _install(root: Path, suite: str, *, packages: Path) -> None:
    packages.mkdir(parents=True, exist_ok=True)
    run(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *("debootstrap", "--arch=amd64", "--variant=minbase", f"--cache-dir={packages}"),
        *(f"--include={','.join(PACKAGES)}", suite, root, tree.mirror()),
        environment={"INITRD": "No"},  # each guest has its own
        deadline=DEADLINE,
    )
    tree.inside(root, "apt-get", "-qq", "update", deadline=120)
    tree.inside(root, "apt-get", "clean", deadline=60)
    tree.inside(root, "systemctl", "mask", "--quiet", *KEPT_OFF, deadline=30)
    tree.inside(root, "passwd", "--quiet", "--lock", "root", deadline=30)
    remove_unread(root)
