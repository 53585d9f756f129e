"""Inspection by capability: what a guest is and has, told by its files, for every family and for none."""

from __future__ import annotations

import pytest

from convert.bootloader import Entry, survey
from convert.installed import kernels, version_of
from convert.release import packages, release
from convert.traits import selinux, traits
from tests.convert.families import FAMILIES
from tests.convert.families.parts import MACHINE, RED_HAT, SYSTEMD, bzimage, debian_kernel, kernel
from tests.convert.memory import Memory

EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@EVERY
def test_a_family_is_known_by_what_it_left(family):
    tree = family.tree()
    has = traits(tree)

    assert release(tree).get("ID") == family.distro
    assert packages(tree) == family.packages
    assert has.init == family.init
    assert has.initramfs == family.initramfs
    assert has.network == family.network


@EVERY
def test_a_familys_kernels_are_found_and_the_one_that_starts_is_the_default(family):
    tree = family.tree()
    found = kernels(tree, survey(tree, family.firmware, family.esp).entries)

    assert [kernel.version for kernel in found if kernel.default] == [family.kernel]
    assert sorted(kernel.version for kernel in found) == sorted(family.versions or (family.kernel,))
    assert all(kernel.packaged for kernel in found)
    assert all(tree.exists(kernel.image) and tree.exists(kernel.initrd) for kernel in found)


@EVERY
def test_selinux_is_what_the_guest_boots_into(family):
    tree = family.tree()
    options = [entry.options for entry in survey(tree, family.firmware, family.esp).entries if entry.default]

    assert selinux(tree, options) == family.selinux


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ("ro quiet", "enforcing"),
        ("ro selinux=0", "disabled"),
        ("ro enforcing=0", "permissive"),
        ("noselinux=0 xenforcing=0", "enforcing"),
    ],
)
def test_the_kernels_command_line_overrides_selinuxs_file(options, mode):
    assert selinux(Memory(RED_HAT), [options]) == mode


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        (
            "/etc/redhat-release",
            "CentOS release 6.10 (Final)\n",
            {"ID": "centos", "VERSION_ID": "6.10", "PRETTY_NAME": "CentOS release 6.10 (Final)"},
        ),
        (
            "/etc/SuSE-release",
            "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n",
            {
                "ID": "sles",
                "VERSION_ID": "11.4",
                "PRETTY_NAME": "SUSE Linux Enterprise Server 11 (x86_64)",
            },
        ),
        (
            "/etc/alpine-release",
            "3.20.3\n",
            {"ID": "alpine", "VERSION_ID": "3.20.3", "PRETTY_NAME": "alpine 3.20.3"},
        ),
        (
            "/etc/debian_version",
            "7.11\n",
            {"ID": "debian", "VERSION_ID": "7.11", "PRETTY_NAME": "debian 7.11"},
        ),
        (
            "/etc/redhat-release",
            "Vendor Appliance 4\n",
            {"VERSION_ID": "4", "PRETTY_NAME": "Vendor Appliance 4"},
        ),
    ],
)
def test_a_guest_without_os_release_is_told_by_its_older_files(path, content, told):
    tree = Memory({path: content})

    assert release(tree) == told


def test_os_release_is_data():
    tree = Memory({"/etc/os-release": 'ID=$(id)\nNAME="unclosed\nVERSION_ID=' + "9" * 9999 + "\n#ID=no\n"})
    found = release(tree)

    assert found["ID"] == "$(id)"
    assert found["NAME"] == '"unclosed'
    assert len(found["VERSION_ID"]) == 256


def test_an_unknown_distribution_is_inspected_like_any_other():
    files = {
        "/etc/os-release": "ID=neverheardof\n",
        **SYSTEMD,
        **kernel("9.9", "/boot/vmlinuz", "/boot/initrd-9.9"),
    }
    tree = Memory(files, {"/sbin/init": "../lib/systemd/systemd"})
    (found,) = kernels(tree, ())

    assert traits(tree).init == "systemd"
    assert (found.version, found.image, found.initrd, found.default) == (
        "9.9",
        "/boot/vmlinuz",
        "/boot/initrd-9.9",
        True,
    )


def test_a_kernel_that_no_package_brought_is_one_too():
    tree = Memory(kernel("6.9.0-custom", "/boot/vmlinuz-6.9.0-custom", "/boot/initrd.img-6.9.0-custom"))
    (found,) = kernels(tree, ())

    assert not found.packaged


def test_an_image_whose_name_tells_nothing_tells_its_version_itself():
    assert version_of(bzimage("6.6.63-0-lts")) == "6.6.63-0-lts"
    assert version_of(b"\x7fELF") is None
    assert version_of(bzimage("x")[:0x210]) is None


def test_an_image_without_modules_is_no_kernel():
    assert kernels(Memory({"/boot/vmlinuz-1": bzimage("1"), "/boot/memtest86+.bin": "x"}), ()) == ()


def test_no_kernel_is_the_default_where_the_one_that_starts_has_no_modules():
    """To call the newest one the default would be a proof about a kernel that does not run."""
    menu = "menuentry gone {\n linux /boot/vmlinuz-6.9.9\n}\n"
    tree = Memory({**debian_kernel("6.1.0-28-amd64"), "/boot/grub/grub.cfg": menu})
    family = FAMILIES["Debian 12, UEFI"]

    assert [k.default for k in kernels(tree, survey(tree, family.firmware, family.esp).entries)] == [False]


def test_the_newest_kernel_is_the_default_where_no_boot_loader_was_understood():
    tree = Memory({**debian_kernel("6.1.0-9-amd64"), **debian_kernel("6.1.0-28-amd64")})

    assert [k.version for k in kernels(tree, ()) if k.default] == ["6.1.0-28-amd64"]


def test_a_rescue_image_is_a_kernel_only_where_it_is_what_starts():
    tree = FAMILIES["RHEL 7"].tree()
    rescue = f"/boot/vmlinuz-0-rescue-{MACHINE}"
    menu = f"menuentry r {{\n linux16 /vmlinuz-0-rescue-{MACHINE}\n}}\n"

    assert rescue not in [k.image for k in kernels(tree, ())]
    tree.content["/boot/grub2/grub.cfg"] = menu.encode()
    entries = survey(tree, FAMILIES["RHEL 7"].firmware, None).entries
    assert [k.image for k in kernels(tree, entries) if k.default] == [rescue]


def test_of_two_copies_of_one_kernel_the_one_that_an_entry_starts_counts():
    version = "6.1.0-28-amd64"
    folder = f"/boot/efi/{MACHINE}/{version}"
    tree = Memory({**debian_kernel(version), f"{folder}/linux": "MZ", f"{folder}/initrd.img-{version}": "x"})
    entry = Entry("e.conf", "t", f"{folder}/linux", (f"{folder}/initrd.img-{version}",), "", default=True)

    assert [(k.image, k.initrd) for k in kernels(tree, [entry])] == [(entry.kernel, entry.initrds[0])]


def test_an_initramfs_of_kdump_is_nobodys_own():
    tree = Memory({**kernel("3.10.0", "/boot/vmlinuz-3.10.0", "/boot/initramfs-3.10.0kdump.img")})

    assert kernels(tree, ())[0].initrd is None
