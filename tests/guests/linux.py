"""Builds the guests of recipes.py: `python -m tests.guests.linux [NAME...]`, as root, into the cache.

A build is one straight line: the release's base (base.py), the packages and files of the plan in a root
folder on this machine, disks made from it in an appliance (appliance.py), and a first boot on VMware-like
hardware, in which the guest proves that it is what its recipe says, and ends as a machine that has run: with
a machine id, a journal and whatever its tools leave behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.boot import NO_VARIABLES, UEFI_CODE, Boot, Hardware, Outcome, boot
from tests.guests import appliance, base, debian12, disk, nvram, tree
from tests.guests.identity import Identity
from tests.guests.installation import Installation, plan
from tests.guests.layouts import identifier
from tests.guests.recipes import RECIPES, Recipe
from tests.guests.tools import SEARCH_PATH, run
from transferd.errors import Error, IntegrityError, UsageError, printable
from transferd.model import Firmware

CACHE = Path("~/.cache/transferd/guests/linux")
TOOLS = (*debian12.TOOLS, "tar", "fallocate")

# Three to four times what a boot takes on two idle cores without KVM.
BOOT_DEADLINE = 360.0
INSTALL_DEADLINE = 600.0


@dataclass(frozen=True)
class LinuxGuest:
    """`home` is what it said of itself on VMware; `key` opens its LUKS volume, if it has one."""

    plan: Installation
    disks: tuple[Path, ...]
    variables: Path | None
    key: Path
    home: Identity

    @property
    def name(self) -> str:
        return self.plan.recipe.name


def named(name: str) -> Recipe:
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise UsageError(f"no guest {name}", remedy=f"one of {', '.join(recipe.name for recipe in RECIPES)}")


def build(recipe: Recipe, cache: Path = CACHE) -> LinuxGuest:
    """The guest from the cache, where it is made first if need be. Never write to its disks: `clone` it."""
    made = plan(recipe)
    folder = _folder(made, cache)
    if not folder.exists():
        obstacle = unavailable(recipe, cache)
        if obstacle:
            raise UsageError(obstacle, remedy="run images/dev/setup.sh as root")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with debian12._alone(folder.parent):
            debian12._remove_half_built(folder.parent)
            if not folder.exists():
                _build(made, folder)
    return _load(made, folder)


def unavailable(recipe: Recipe, cache: Path = CACHE) -> str | None:
    """Why this machine can neither find, nor build, nor run the guest: what tests say when they skip."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=SEARCH_PATH) is None]
    missing += [str(path) for path in (UEFI_CODE, NO_VARIABLES) if not path.exists()]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0 and not _folder(plan(recipe), cache).exists():
        return f"the test guest {recipe.name} is not built yet, and only root can build it"
    return None


def clone(guest: LinuxGuest, folder: Path) -> LinuxGuest:
    """The same guest on throw-away sparse copies of its disks."""
    folder.mkdir(parents=True, exist_ok=True)
    return replace(guest, disks=tuple(disk.clone(image, folder / image.name) for image in guest.disks))


def at(guest: LinuxGuest, folder: Path) -> LinuxGuest:
    """The clone that is there."""
    return replace(guest, disks=tuple(folder / image.name for image in guest.disks))


def start(guest: LinuxGuest, hardware: Hardware) -> Boot:
    """Boot it; its disks stay as they are."""
    return _boot(guest.plan, guest.disks, guest.variables, hardware, keep=False)


def problems(recipe: Recipe, it: Identity) -> list[str]:
    """What an identity lacks of what its recipe asks for, wherever it runs."""
    made = plan(recipe)
    found = {
        "multi-user.target": (it.multi_user, "active"),
        "NIC names": (it.nics, {nic.mac: nic.name for nic in made.nics}),
        "addresses": (
            {name: set(addresses) for name, addresses in it.all_addresses.items()},
            {link.name: set(link.addresses) for link in recipe.network.links},
        ),
        "mounts": (
            {point: mount.fstype for point, mount in it.mounts.items()},
            {mount.point: mount.kind for mount in made.layout.mounts},
        ),
        "swaps": (len(it.swaps), 1),
        "failed units": (it.failed_units, []),
    }
    return [f"{what}: {got} instead of {wanted}" for what, (got, wanted) in found.items() if got != wanted]


def _folder(made: Installation, cache: Path) -> Path:
    """Its name holds a digest of everything that decides what the guest is."""
    here = Path(__file__).parent
    digest = hashlib.sha256(repr(made).encode())
    for name in ("base.py", "appliance.py", "nvram.py"):
        digest.update((here / name).read_bytes())
    return cache.expanduser() / f"{made.recipe.name}-{digest.hexdigest()[:16]}"


def _build(made: Installation, folder: Path) -> None:
    cache = folder.parent
    with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as scratch:
        half_built = Path(scratch) / "guest"
        half_built.mkdir()
        archive = Path(scratch) / "root.tar"
        _install(made, base.archive(cache, made.recipe.suite), Path(scratch) / "root", archive)
        disks = appliance.make_disks(made, archive, half_built)
        home = _first_boot(made, disks, _variables(made, half_built))
        for image in disks:  # an array's first resync has written all of its zeros
            run("fallocate", "--dig-holes", image, deadline=INSTALL_DEADLINE)
        (half_built / "guest.json").write_text(home.model_dump_json())
        half_built.rename(folder)


def _install(made: Installation, release: Path, root: Path, archive: Path) -> None:
    """Packages first: their scripts must not meet configuration for a machine that is not there."""
    root.mkdir()
    run("tar", "-C", root, "--numeric-owner", "-xf", release, deadline=INSTALL_DEADLINE)
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive", "INITRD=No")
    apt = ("apt-get", "-qq", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", "install")
    tree.inside(root, *quiet, *apt, *made.packages, deadline=INSTALL_DEADLINE)
    base.remove_unread(root)
    for path, file in made.files:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.content)
        target.chmod(file.mode)
    for command in made.inside:
        tree.inside(root, *command, deadline=INSTALL_DEADLINE)
    leave_out = [f"--exclude=./{name}/*" for name in ("var/cache/apt", "var/lib/apt/lists", "dev", "run")]
    run("tar", "-C", root, "--numeric-owner", *leave_out, "-cf", archive, ".", deadline=INSTALL_DEADLINE)


def _variables(made: Installation, folder: Path) -> Path | None:
    """The firmware's memory of a guest with UEFI, written to `folder`."""
    if made.recipe.firmware is not Firmware.EFI:
        return None
    store = folder / "variables.fd"
    unique = identifier(made.recipe, "disk0 esp")
    esp = made.layout.partition("esp")
    store.write_bytes(nvram.with_boot_entry("debian", esp, unique, r"\EFI\debian\shimx64.efi"))
    return store


def _first_boot(made: Installation, disks: Sequence[Path], variables: Path | None) -> Identity:
    end = _boot(made, disks, variables, Hardware.VMWARE, keep=True)
    if end.identity is None or end.outcome is not Outcome.OFF:
        said = " | ".join(map(printable, end.console.splitlines()[-5:]))
        raise IntegrityError(f"{made.recipe.name} did not come up and go down again ({end.outcome}): {said}")
    if wrong := problems(made.recipe, end.identity):
        raise IntegrityError(f"{made.recipe.name} is not what its recipe says: {'; '.join(wrong)}")
    return end.identity


def _boot(
    made: Installation, disks: Sequence[Path], variables: Path | None, hardware: Hardware, *, keep: bool
) -> Boot:
    """New hardware has UEFI where the old had it, but none of its variables."""
    first, *others = [nic.mac for nic in made.nics]
    if variables and hardware is Hardware.VIRTIO:
        variables = NO_VARIABLES
    return boot(
        disks,
        hardware,
        mac=first,
        more_macs=others,
        variables=variables,
        adapter=made.recipe.adapter,
        deadline=BOOT_DEADLINE,
        keep=keep,
    )


def _load(made: Installation, folder: Path) -> LinuxGuest:
    variables = folder / "variables.fd"
    return LinuxGuest(
        plan=made,
        disks=tuple(folder / f"disk{at}.img" for at in range(made.recipe.disks)),
        variables=variables if variables.exists() else None,
        key=folder / "root.key",
        home=Identity.model_validate_json((folder / "guest.json").read_text()),
    )


def main() -> int:
    try:
        for recipe in map(named, sys.argv[1:]) if sys.argv[1:] else RECIPES:
            began = time.monotonic()
            guest = build(recipe)
            print(f"{guest.disks[0].parent} ({time.monotonic() - began:.0f} s)", flush=True)
    except Error as error:
        print(f"tests.guests.linux: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
