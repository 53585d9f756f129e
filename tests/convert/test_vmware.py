"""VMware's tools are switched off as each init would do it, and what they left in the way is moved aside."""

import time

import pytest

from convert.linux.vmware import quiet_vmware_tools
from tests.convert.memory import Memory, inspection, wishes

UNITS = "/usr/lib/systemd/system"
MASKS = "/etc/systemd/system"
UPSTART = {"/sbin/init": b"\x7fELF upstart .conf\0.override\0", "/etc/init/rc.conf": "start on startup\n"}
TOOLS_REPOSITORY = "https://packages.vmware.com/tools/esx/6.5/rhel7/x86_64"


def quiet(tree: Memory):
    """The contribution, after seeing that a second plan has nothing left to do."""
    done = quiet_vmware_tools(tree, inspection(), wishes())
    assert quiet_vmware_tools(tree.after(done.changes), inspection(), wishes()).changes == ()
    return done


def changed(files: dict[str, str | bytes], links: dict[str, str] | None = None) -> dict[str, str | None]:
    """Path -> what it holds or leads to afterwards, None if it is gone."""
    changes = quiet(Memory(files, links)).changes
    return {c.path: None if c.action == "remove" else c.data.decode() for c in changes}


# --- services ----------------------------------------------------------------------------------------------


def test_units_that_a_package_brought_are_masked():
    units = (f"{UNITS}/open-vm-tools.service", rf"{UNITS}/run-vmblock\x2dfuse.mount", f"{UNITS}/ssh.service")

    assert changed(dict.fromkeys(units, "")) == {
        f"{MASKS}/open-vm-tools.service": "/dev/null",
        rf"{MASKS}/run-vmblock\x2dfuse.mount": "/dev/null",
    }


def test_an_alias_is_not_a_unit_of_its_own():
    assert changed({}, {f"{UNITS}/vmtoolsd.service": "open-vm-tools.service"}) == {}


def test_the_administrators_own_unit_is_left_and_reported():
    done = quiet(Memory({f"{UNITS}/vgauth.service": "", f"{MASKS}/vgauth.service": "[Service]"}))

    assert done.changes == ()
    assert [warning.code for warning in done.warnings] == ["vmware-unit-not-masked"]


def test_a_unit_that_vmwares_installer_put_among_the_administrators_is_disabled():
    unit = "[Service]\nExecStart=/etc/vmware-tools/services.sh start\n"
    wanted = f"{MASKS}/multi-user.target.wants/vmware-tools.service"

    assert changed({f"{MASKS}/vmware-tools.service": unit}, {wanted: "../vmware-tools.service"}) == {
        wanted: None
    }


@pytest.mark.parametrize("top", ["/etc", "/etc/rc.d", "/etc/init.d"], ids=["Debian", "Red Hat", "SUSE"])
def test_start_links_become_stop_links(top):
    links = {
        f"{top}/rc3.d/S90vmware-tools": "../init.d/vmware-tools",
        f"{top}/rc3.d/S10network": "../init.d/network",
        f"{top}/rc0.d/K15vmware-tools": "../init.d/vmware-tools",
    }

    assert changed({}, links) == {
        f"{top}/rc3.d/S90vmware-tools": None,
        f"{top}/rc3.d/K15vmware-tools": "../init.d/vmware-tools",
    }


def test_runlevels_that_are_reached_by_two_names_are_changed_once():
    """Red Hat: /etc/rc3.d is a link to /etc/rc.d/rc3.d."""
    links = {
        "/etc/rc3.d": "rc.d/rc3.d",
        "/etc/rc3.d/S90vmtoolsd": "../init.d/vmtoolsd",
        "/etc/rc.d/rc3.d/S90vmtoolsd": "../init.d/vmtoolsd",
    }

    assert set(changed({}, links)) == {"/etc/rc.d/rc3.d/S90vmtoolsd", "/etc/rc.d/rc3.d/K10vmtoolsd"}


def test_a_service_whose_unit_is_masked_keeps_its_start_links():
    files = {f"{UNITS}/open-vm-tools.service": ""}
    links = {"/etc/rc2.d/S01open-vm-tools": "../init.d/open-vm-tools"}

    assert changed(files, links) == {f"{MASKS}/open-vm-tools.service": "/dev/null"}


def test_upstart_gets_an_override_where_it_reads_them():
    files = {**UPSTART, "/etc/init/vmware-tools.conf": "start on runlevel [2345]\n"}

    assert changed(files) == {"/etc/init/vmware-tools.override": "manual\n"}


def test_upstart_before_overrides_gets_its_start_stanza_commented_out():
    conf = "description x\nstart on (started dbus\n and (runlevel [2345]\n or x))\nstop on y\n"
    files = {"/sbin/init": b"\x7fELF upstart", "/etc/init/vmware-tools-thinprint.conf": conf}

    assert changed(files) == {
        "/etc/init/vmware-tools-thinprint.conf": (
            "description x\n# start on (started dbus\n#  and (runlevel [2345]\n#  or x))\nstop on y\n"
        )
    }


def test_the_administrators_own_override_is_left_and_reported():
    done = quiet(
        Memory(
            {**UPSTART, "/etc/init/open-vm-tools.conf": "", "/etc/init/open-vm-tools.override": "nice 5\n"}
        )
    )

    assert done.changes == ()
    assert [warning.code for warning in done.warnings] == ["vmware-unit-not-masked"]


def test_openrc_loses_the_links_of_its_runlevels():
    links = {
        "/etc/runlevels/default/open-vm-tools": "/etc/init.d/open-vm-tools",
        "/etc/runlevels/default/sshd": "/etc/init.d/sshd",
    }

    assert changed({}, links) == {"/etc/runlevels/default/open-vm-tools": None}


# --- what is in the way ------------------------------------------------------------------------------------


def test_the_user_agent_does_not_start_with_the_desktop():
    path = "/etc/xdg/autostart/vmware-user.desktop"

    assert changed({path: "[Desktop Entry]\nExec=x\n"}) == {path: "[Desktop Entry]\nHidden=true\nExec=x\n"}


@pytest.mark.parametrize(
    ("line", "after"),
    [
        (
            ".host:/   /mnt/hgfs  fuse.vmhgfs-fuse  defaults,allow_other 0 0\n",
            ".host:/   /mnt/hgfs  fuse.vmhgfs-fuse  defaults,allow_other,noauto,nofail 0 0\n",
        ),
        (".host:/x\t/x\tvmhgfs\tnofail\t0 0", ".host:/x\t/x\tvmhgfs\tnofail,noauto\t0 0"),
        ("vmhgfs-fuse /x fuse.vmhgfs-fuse noauto,nofail 0 0\n", None),
        ("# .host:/ /mnt/hgfs vmhgfs defaults 0 0\n", None),
        ("UUID=1 / ext4 defaults 0 1\n", None),
        (".host:/ /mnt/hgfs vmhgfs\n", None),
    ],
)
def test_shared_folders_are_not_mounted_at_boot(line, after):
    assert changed({"/etc/fstab": line}) == ({"/etc/fstab": after} if after else {})


def test_modules_that_only_vmware_can_load_are_not_loaded_at_boot():
    assert changed(
        {"/etc/modules": "loop\nvmw_balloon\n vmhgfs\n", "/etc/modules-load.d/a.conf": "vmxnet3\n"}
    ) == {"/etc/modules": "loop\n# vmw_balloon\n#  vmhgfs\n"}


# --- repositories ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["/etc/yum.repos.d", "/etc/zypp/repos.d"])
def test_yum_and_zypper_repositories_of_the_tools_are_disabled(folder):
    path = f"{folder}/all.repo"
    text = f"[base]\nbaseurl=http://mirror/os\nenabled=1\n[vmware]\nbaseurl={TOOLS_REPOSITORY}\nenabled = 1\n"

    assert changed({path: text}) == {path: text.replace("enabled = 1", "enabled=0")}


def test_a_repository_that_does_not_say_whether_it_is_enabled_is_told():
    path = "/etc/yum.repos.d/vmware.repo"

    assert changed({path: f"[vmware]\nbaseurl={TOOLS_REPOSITORY}"}) == {
        path: f"[vmware]\nenabled=0\nbaseurl={TOOLS_REPOSITORY}"
    }


@pytest.mark.parametrize(
    "address", ["https://packages.vmware.com/photon/5.0/x", "http://vmware.com.mirror.test/tools/x"]
)
def test_repositories_of_a_whole_distribution_and_of_others_stay(address):
    assert changed({"/etc/yum.repos.d/photon.repo": f"[photon]\nbaseurl={address}\nenabled=1\n"}) == {}


def test_apt_sources_of_the_tools_are_disabled_in_both_styles():
    line = f"deb {TOOLS_REPOSITORY} focal main\n"
    stanza = f"Types: deb\nURIs: {TOOLS_REPOSITORY}\nSuites: x\n"
    own = "Types: deb\nURIs: http://deb.debian.org/debian\n\n"
    files = {
        "/etc/apt/sources.list": f"deb http://a b c\n{line}",
        "/etc/apt/sources.list.d/v.sources": own + stanza,
    }

    assert changed(files) == {
        "/etc/apt/sources.list": f"deb http://a b c\n# {line}",
        "/etc/apt/sources.list.d/v.sources": f"{own}Enabled: no\n{stanza}",
    }


# --- hostile guests ----------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_reported_and_the_rest_goes_on():
    done = quiet(
        Memory(
            {"/etc/fstab": b"x" * (2 << 20), f"{UNITS}/vmtoolsd.service": ""},
            {"/etc/apt/sources.list": "sources.list"},
        )
    )

    assert [change.path for change in done.changes] == [f"{MASKS}/vmtoolsd.service"]
    assert [warning.code for warning in done.warnings] == ["file-not-read"]


def test_an_init_script_that_cannot_be_read_is_reported_and_the_rest_goes_on():
    tree = Memory(
        {"/etc/rc2.d/S20vmware-tools": b"x" * (2 << 20), "/etc/runlevels/default/vmtoolsd": ""},
    )
    done = quiet_vmware_tools(tree, inspection(), wishes())

    assert [change.path for change in done.changes] == ["/etc/runlevels/default/vmtoolsd"]
    assert [warning.code for warning in done.warnings] == ["file-not-read"]


def test_binary_files_are_left_alone():
    assert changed({"/etc/fstab": b".host:/ /x vmhgfs defaults\0 0 0\n"}) == {}


def test_bytes_that_are_no_text_survive_an_edit():
    tree = Memory({"/etc/fstab": b"# \xff\xfe\n.host:/ /x vmhgfs ro 0 0\n"})

    assert quiet(tree).changes[0].data == b"# \xff\xfe\n.host:/ /x vmhgfs ro,noauto,nofail 0 0\n"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/apt/sources.list", "http://vmware.com/a/" * 50_000),
        ("/etc/init/vmware-tools.conf", "start on (" * 100_000),
        ("/etc/init/vmware-tools.conf", "start on (\n" * 90_000),
        ("/etc/yum.repos.d/a.repo", "[a]\n" * 200_000),
        ("/etc/modules", " \t" * 500_000),
        ("/etc/fstab", ".host: " * 100_000),
    ],
    ids=["addresses", "stanzas in a line", "stanzas", "sections", "blanks", "words"],
)
def test_a_megabyte_of_almost_matches_takes_no_time(path, text):
    began = time.process_time()
    quiet_vmware_tools(Memory({path: text}), inspection(), wishes())

    assert time.process_time() - began < 10
