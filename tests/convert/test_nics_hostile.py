"""Guests that were made to harm their reader: bounded in time and memory, never outside their folder."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from convert.folder import Folder
from convert.linux.interfaces import Nic
from convert.linux.resolver import resolve
from convert.linux.stacks import clues
from convert.linux.stacks.reading import APPLIANCE_READS, FOLDER_READS, Reader
from tests.convert.memory import Memory
from tests.convert.trees import (
    IFUPDOWN,
    KEYFILES,
    NETPLAN,
    NETWORKD,
    PERSISTENT,
    SCRIPTS,
    A,
    read,
    resolved,
    written,
)
from transferd.errors import UsageError

SCRIPTS_FOLDER = "/etc/sysconfig/network-scripts"
PATIENCE = 20.0
MIB = 1 << 20


def found_in(root: Path, *nics: Nic):
    began = time.monotonic()
    reader = Reader(Folder(root), reads=FOLDER_READS)
    answers = resolve(nics or [Nic(A, slot=192)], clues(reader))
    assert time.monotonic() - began < PATIENCE
    return {answer.mac: answer.name for answer in answers}, reader.unread


@pytest.fixture
def secret(tmp_path):
    """A folder beside the guest's, whose files would name the NIC if they were read."""
    outside = written(tmp_path / "outside", {"ifcfg-ens192": f"DEVICE=stolen\nHWADDR={A}\n"})
    root = tmp_path / "guest"
    (root / "etc/sysconfig/network-scripts").mkdir(parents=True)
    return root, outside


def test_a_link_to_a_file_outside_finds_nothing(secret):
    root, outside = secret
    place = root / "etc/sysconfig/network-scripts"
    (place / "ifcfg-a").symlink_to(outside / "ifcfg-ens192")
    (place / "ifcfg-b").symlink_to("../" * 20 + str(outside / "ifcfg-ens192").lstrip("/"))
    (place / "ifcfg-c").symlink_to("../../../../outside/ifcfg-ens192")

    assert found_in(root) == ({A: None}, ())


def test_a_link_to_a_folder_outside_finds_nothing(secret):
    root, outside = secret
    for name in ("etc/netplan", "etc/NetworkManager"):
        (root / name).symlink_to(outside, target_is_directory=True)
    (root / "etc/sysconfig/network").symlink_to("../../../outside", target_is_directory=True)

    assert found_in(root) == ({A: None}, ())


def test_an_absolute_link_leads_to_the_guests_own_file(tmp_path):
    root = written(tmp_path, {"/srv/eth": "DEVICE=lan0\n"})
    (root / "etc/sysconfig/network-scripts").mkdir(parents=True)
    (root / "etc/sysconfig/network-scripts/ifcfg-lan0").symlink_to("/srv/../srv/./eth")

    assert found_in(root)[0] == {A: "lan0"}


def test_the_root_may_itself_be_reached_by_a_link(tmp_path):
    written(tmp_path / "real", {f"{SCRIPTS}ens192": "DEVICE=ens192\n"})
    (tmp_path / "link").symlink_to("real")

    assert found_in(tmp_path / "link")[0] == {A: "ens192"}


def test_loops_of_links_end(tmp_path):
    place = tmp_path / "etc/netplan"
    place.mkdir(parents=True)
    (place / "a.yaml").symlink_to("b.yaml")
    (place / "b.yaml").symlink_to("a.yaml")
    (place / "c.yaml").symlink_to("x/" * 1500)
    (place / "x").symlink_to(".")
    (place / "d.yaml").symlink_to("/" + "etc/../" * 500 + "etc/netplan/none")

    assert found_in(tmp_path) == ({A: None}, ())


def test_fifos_sockets_folders_and_devices_are_not_opened(tmp_path):
    place = tmp_path / "etc/sysconfig/network-scripts"
    place.mkdir(parents=True)
    os.mkfifo(place / "ifcfg-a")
    (place / "ifcfg-b").mkdir()
    if os.geteuid() == 0:
        os.mknod(place / "ifcfg-c", 0o020600, os.makedev(1, 5))  # /dev/zero never ends
    (place / "ifcfg-ens192").write_text("DEVICE=ens192\n")

    assert found_in(tmp_path) == ({A: "ens192"}, ())


def test_a_file_of_100_mb_is_told_and_costs_little(tmp_path):
    root = written(tmp_path, {f"{SCRIPTS}ens192": "DEVICE=ens192\n", f"{SCRIPTS}big": "x"})
    with (root / f"{SCRIPTS}big".lstrip("/")).open("r+b") as big:
        big.truncate(100 * MIB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    names, unread = found_in(root)

    assert unread == (f"{SCRIPTS}big was not read: more than 524288 bytes",)
    assert names == {A: "ens192"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_what_was_not_read_forbids_conclusions_from_what_is_left(tmp_path):
    root = written(tmp_path, {f"{SCRIPTS}lan0": "DEVICE=lan0\n", f"{SCRIPTS}big": b"\0" * 100})

    assert found_in(root) == ({A: None}, (f"{SCRIPTS}big was not read: not a text",))


def test_ten_thousand_files_are_read_and_more_are_told(tmp_path):
    place = tmp_path / "etc/sysconfig/network-scripts"
    place.mkdir(parents=True)
    for at in range(10_000):
        (place / f"ifcfg-eth{at}").write_text(f"DEVICE=eth{at}\nIPADDR=10.0.{at >> 8}.{at & 255}\n")
    (place / "ifcfg-ens192").write_text("DEVICE=ens192\n")
    assert found_in(tmp_path) == ({A: "ens192"}, ())

    reader = Reader(Folder(tmp_path), APPLIANCE_READS)
    clues(reader)
    assert len(reader.unread) == 6
    assert "more files were not read" in reader.unread[-1]


def test_many_files_of_the_largest_size_end_at_a_limit(tmp_path):
    big = b"#" * (500 * 1024)
    root = written(tmp_path, {f"{SCRIPTS}eth{at}": big for at in range(200)})

    assert "too many files" in found_in(root)[1][0]


NO_YAML = {
    "lists": "[" * 60_000,
    "mappings": "{" * 60_000,
    "a list as key": "? [a]\n: b\n",
    "nesting": "- " * 30_000,
    "a loop": "a: &x [*x]\n",
    "an object": "!!python/object:os.system {}",
    "a zero": "\x00",
    "an anchor": "&",
}


@pytest.mark.parametrize("content", NO_YAML.values(), ids=NO_YAML)
def test_yaml_that_is_none_is_told(content):
    found = read({NETPLAN: content, "/etc/netplan/60-b.yaml": "network: {ethernets: {ens192: {}}}"})

    assert list(found.physical) == ["ens192"]


def test_aliases_that_would_grow_to_billions_are_told():
    levels = "".join(f"l{at}: &l{at} [{', '.join([f'*l{at - 1}'] * 9)}]\n" for at in range(1, 12))
    found = read({NETPLAN: f"l0: &l0 [x]\n{levels}"})

    assert found.unread == (f"{NETPLAN} was not read: not YAML: aliases are not read",)


PLACES = (
    *(f"{SCRIPTS}x", f"{KEYFILES}a", NETPLAN, f"{NETWORKD}a.network", f"{NETWORKD}a.link", IFUPDOWN),
    *(
        PERSISTENT,
        "/etc/netctl/a",
        "/etc/mactab",
        "/boot/grub/grub.cfg",
        "/etc/cloud/cloud.cfg.d/network.cfg",
    ),
    *("/var/lib/dhcp/a.leases", "/var/lib/dhcpcd/eth0.lease", "/var/lib/wicked/lease-eth0-dhcp-ipv4.xml"),
    "/var/log/syslog",
)
JUNK = {
    "bytes": bytes(range(1, 256)) * 1000,
    "words": b"network: " * 40_000,
    "marks": b'\\\n"{|(' * 60_000,
    "stanzas": b"iface a inherits a\n" * 20_000,
    "leases": b"lease {\n" * 40_000,
    "table": b"| e | True |" * 30_000,
    "log": b"LPF/" * 100_000,
    "profile": b"interface-name=" + b"*a" * 200_000,
    "glob": b"[Match]\nName=" + b"*a" * 200_000,
    "quote": b"DEVICE=" + b"a" * 400_000 + b"'",
    "spaces": b"DEVICE=" + b" " * 400_000 + b"[",
}


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_names_nothing_and_does_not_take_long(path, junk):
    began = time.monotonic()

    assert resolved({path: junk}, Nic(A, ("192.0.2.7",), 192)) == {A: None}
    assert time.monotonic() - began < PATIENCE


def test_a_name_that_would_leave_its_folder_or_its_quotes_is_none():
    files = {
        IFUPDOWN: "iface ../../x inet dhcp\niface a/b inet dhcp\n",
        PERSISTENT: f'ATTR{{address}}=="{A}", NAME="$(reboot)"\n',
        f"{NETWORKD}a.link": f"[Match]\nMACAddress={A}\n[Link]\nName=../../etc/passwd\n",
        f"{SCRIPTS}x": f'HWADDR={A}\nDEVICE="lan0\\nNAME=x"\n',
    }

    assert resolved(files, Nic(A, slot=192)) == {A: None}


def test_sourcing_for_ever_ends():
    files = {IFUPDOWN: "source /etc/network/interfaces.d/*\n"}
    files |= {f"/etc/network/interfaces.d/{at}": "source /etc/network/interfaces.d/*\n" for at in range(600)}
    reader = Reader(Memory(files), reads=FOLDER_READS)

    clues(reader)

    assert "too many sourced files" in reader.unread[0]


def test_a_link_to_a_name_that_cannot_be_leads_nowhere(tmp_path):
    root = written(tmp_path, {f"{SCRIPTS}ens192": "DEVICE=ens192\n"})
    (root / f"{SCRIPTS}long".lstrip("/")).symlink_to("a" * 300)

    assert found_in(root) == ({A: "ens192"}, ())


def test_a_folder_that_is_none_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="none: No such file or directory"):
        Folder(tmp_path / "none")
    with pytest.raises(UsageError, match="file: Not a directory"):
        Folder(tmp_path / "file")


def test_a_file_that_may_not_be_read_is_one_clear_error(tmp_path):
    """As a user who is not root; the files of a guest are root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = Folder(tmp_path)
    os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match="cannot be read: Permission denied; run this as a user"):
            folder.names("/etc")
    finally:
        os.seteuid(0)
