"""Module settings do not keep VirtIO from loading, and no longer call for VMware's hardware."""

import pytest

from convert.linux.modprobe import let_virtio_load
from convert.loaders.menu import Entry
from tests.convert.memory import Memory, inspection, wishes

LOCAL = "/etc/modprobe.d/local.conf"


def after(settings: str, path: str = LOCAL) -> tuple[str, list[str]]:
    """The settings afterwards, and the codes of the warnings."""
    tree = Memory({path: settings})
    done = let_virtio_load(tree, inspection(), wishes())
    converted = tree.after(done.changes)
    assert let_virtio_load(converted, inspection(), wishes()).changes == ()
    return converted.content[path].decode(), [warning.code for warning in done.warnings]


@pytest.mark.parametrize(
    "line",
    [
        "blacklist virtio_net\n",
        "blacklist virtio-blk\n",
        "install virtio_pci /bin/true\n",
        "install virtio_scsi /bin/false",
    ],
)
def test_what_blocks_a_needed_driver_becomes_a_comment_and_is_told(line):
    assert after(f"options x y=1\n{line}") == (f"options x y=1\n# {line}", ["virtio-was-blocked"])


@pytest.mark.parametrize(
    "line",
    [
        "blacklist virtio_balloon\n",
        "blacklist pcspkr\n",
        "options vmxnet3 disable_lro=1\n",
        "options vmw_pvscsi cmd_per_lun=254\n",
        "install virtio_net /sbin/modprobe --ignore-install virtio_net\n",
        "alias eth0 tg3\n",
        "alias scsi_hostadapter ata_piix\n",
        "alias net-pf-10 off\n",
        "# blacklist virtio_net\n",
        "blacklist\n",
        "install\n",
    ],
)
def test_everything_else_stays(line):
    assert after(line) == (line, [])


def test_nics_are_driven_by_virtio():
    assert after("alias eth0 vmxnet3\nalias eth1 e1000\n", "/etc/modprobe.conf") == (
        "alias eth0 virtio_net\nalias eth1 virtio_net\n",
        [],
    )


def test_the_first_disk_controller_becomes_virtio_and_others_of_vmware_go():
    old = "alias scsi_hostadapter mptbase\nalias scsi_hostadapter1 mptspi\nalias scsi_hostadapter2 ata_piix\n"

    assert after(old, "/etc/modprobe.conf")[0].splitlines() == [
        "alias scsi_hostadapter virtio_blk",
        "# alias scsi_hostadapter1 mptspi",
        "alias scsi_hostadapter2 ata_piix",
    ]


def test_slots_of_the_new_machine_see_plugged_disks():
    line = "install pciehp /sbin/modprobe -q --ignore-install acpiphp; /bin/true\n"

    assert after(line, "/etc/modprobe.d/vmware-tools.conf") == (f"# {line}", [])


def test_a_line_that_goes_on_is_commented_out_whole():
    assert after("install virtio_net \\\n  /bin/true\noptions a b=1\n")[0] == (
        "# install virtio_net \\\n#   /bin/true\noptions a b=1\n"
    )


def test_files_that_modprobe_does_not_read_are_left():
    for name in ("local.conf.bak", "old.rpmsave", ".hidden.conf"):
        assert after("blacklist virtio_net\n", f"/etc/modprobe.d/{name}")[0] == "blacklist virtio_net\n"


def test_names_without_an_ending_are_read_as_old_systems_do():
    assert after("blacklist virtio_net\n", "/etc/modprobe.d/blacklist")[1] == ["virtio-was-blocked"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("modprobe.blacklist=nouveau,virtio-net", ["virtio-is-blocked"]),
        ("rd.driver.blacklist=virtio_blk", ["virtio-is-blocked"]),
        ("module_blacklist=virtio_balloon", []),
    ],
)
def test_a_command_line_that_blocks_a_needed_driver_is_reported(options, code):
    entry = Entry(
        "/boot/grub/grub.cfg", "Debian", "/vmlinuz", (), f"root=UUID=1 {options} quiet", default=True
    )
    done = let_virtio_load(Memory({}), inspection(entries=(entry,)), wishes())

    assert (done.changes, [warning.code for warning in done.warnings]) == ((), code)


def test_a_file_that_is_too_large_is_reported():
    done = let_virtio_load(Memory({LOCAL: b"x" * (2 << 20)}), inspection(), wishes())

    assert (done.changes, [warning.code for warning in done.warnings]) == ((), ["file-not-read"])


def test_a_line_of_many_words_and_backslashes_takes_no_time():
    settings = "alias eth0 " + "\\\n" * 300_000

    assert after(settings) == (settings, [])
