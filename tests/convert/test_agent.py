"""The guest agent comes from the operator's folder or not at all, and the guest's dpkg knows it."""

import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from convert.linux.agent import bring_agent
from tests.conftest import require
from tests.convert import packages
from tests.convert.memory import Memory, inspection, wishes
from transferd.errors import UsageError

AGENT = "/usr/sbin/qemu-ga"
STATUS = "/var/lib/dpkg/status"
RPM_LIBRARIES = {
    "/usr/lib64/libc.so.6": b"\x7fELF\0GLIBC_2.28\0GLIBC_2.34\0",
    "/usr/lib64/libglib-2.0.so.0": b"\x7fELF",
    "/var/lib/rpm/rpmdb.sqlite": b"",
    "/bin/sh": b"",
}
STAGED = "/var/lib/transferd/qemu-guest-agent-7.2.0-1.el9.rpm"
UNIT = "/etc/systemd/system/transferd-guest-agent.service"


def guest(*versions: tuple[str, str], **files: str) -> Memory:
    return Memory({STATUS: packages.status(*versions), "/var/lib/dpkg/info/format": "1\n", **files})


def run(tree: Memory, folder: Path | None, **facts):
    """The contribution, after seeing that a second plan has nothing left to do."""
    asked = wishes(packages=folder)
    done = bring_agent(tree, inspection(**facts), asked)
    assert bring_agent(tree.after(done.changes), inspection(**facts), asked).changes == ()
    return done


def codes(done) -> list[str]:
    return [warning.code for warning in done.warnings]


def refusal(tree: Memory, folder: Path, **facts) -> str:
    """Why nothing was installed."""
    done = run(tree, folder, **facts)
    assert (done.changes, codes(done)) == ((), ["agent-missing"])
    return done.warnings[0].message


# --- without a package -------------------------------------------------------------------------------------


def test_an_agent_that_is_there_stays(tmp_path):
    packages.deb(tmp_path)
    done = run(Memory({AGENT: "", STATUS: packages.status()}), tmp_path)

    assert (done.changes, done.warnings) == ((), ())


def test_an_agent_that_is_masked_is_reported():
    tree = Memory({AGENT: ""}, {"/etc/systemd/system/qemu-guest-agent.service": "/dev/null"})

    assert codes(run(tree, None)) == ["agent-masked"]


def test_without_an_agent_and_without_packages_there_is_a_note():
    done = run(guest(), None)

    assert (done.changes, codes(done)) == ((), ["agent-missing"])
    assert "--guest-packages" in done.warnings[0].remedy


def test_a_folder_that_does_not_exist_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match=r"none: No such file .*give --guest-packages a folder"):
        run(guest(), tmp_path / "none")


def test_a_package_manager_that_is_neither_leaves_a_note(tmp_path):
    packages.deb(tmp_path)

    assert "neither dpkg's nor RPM's" in refusal(Memory({"/lib/apk/db/installed": ""}), tmp_path)


# --- Debian packages ---------------------------------------------------------------------------------------


def test_a_package_is_unpacked_and_entered(tmp_path):
    packages.deb(tmp_path, more="Depends: libc6 (>= 2.34)\n")
    tree = guest()
    after = tree.after(run(tree, tmp_path).changes)

    assert after.content[AGENT] == b"\x7fELF agent"
    assert after.content[STATUS].startswith(tree.content[STATUS])
    assert b"Package: qemu-guest-agent\nStatus: install ok installed\n" in after.content[STATUS]
    assert after.content["/var/lib/dpkg/info/qemu-guest-agent.list"] == b"/.\n/usr/sbin/qemu-ga\n"


def test_the_service_is_enabled_as_its_scripts_would(tmp_path):
    unit = b"[Service]\n[Install]\nWantedBy=multi-user.target\n"
    data = {
        "./lib/systemd/system/qemu-guest-agent.service": unit,
        "./etc/init.d/qemu-guest-agent": b"#!/bin/sh\n",
        "./usr/sbin/qemu-ga": b"x",
    }
    packages.deb(tmp_path, data=data)
    tree = guest()
    tree.links = {"/etc/rc2.d/S01ssh": "../init.d/ssh", "/etc/rc0.d/K01ssh": "../init.d/ssh"}
    made = {change.path: change.data for change in run(tree, tmp_path).changes if change.action == "symlink"}

    assert made == {
        "/etc/systemd/system/multi-user.target.wants/qemu-guest-agent.service": (
            b"/lib/systemd/system/qemu-guest-agent.service"
        ),
        "/etc/rc2.d/S01qemu-guest-agent": b"../init.d/qemu-guest-agent",
        "/etc/rc0.d/K01qemu-guest-agent": b"../init.d/qemu-guest-agent",
    }


def test_of_several_packages_the_one_that_fits_is_taken(tmp_path):
    packages.deb(tmp_path, version="1:10.0-1", more="Depends: libc6 (>= 2.41)\n", at="trixie/new.deb")
    packages.deb(tmp_path, version="1:7.2-1", more="Depends: libc6 (>= 2.36)\n", at="bookworm/fits.deb")
    packages.deb(tmp_path, version="1:7.2-1", architecture="arm64", at="a/arm.deb")

    assert {c.reason for c in run(guest(), tmp_path).changes if c.path == AGENT} == {
        "qemu-guest-agent 1:7.2-1 from fits.deb"
    }


def test_a_folder_named_for_the_release_comes_first(tmp_path):
    packages.deb(tmp_path, version="2", at="a/any.deb")
    packages.deb(tmp_path, version="1", at="debian-12/own.deb")
    done = run(guest(), tmp_path, release={"ID": "debian", "VERSION_ID": "12"})

    assert "own.deb" in next(change.reason for change in done.changes if change.path == AGENT)


def test_a_library_that_is_not_installed_comes_along_if_it_has_no_scripts(tmp_path):
    packages.deb(tmp_path, more="Depends: libc6, liburing2 (>= 2.3) | liburing1\n")
    library = {
        "./usr/lib/x86_64-linux-gnu/liburing.so.2": packages.special(tarfile.SYMTYPE, "liburing.so.2.3")
    }
    more = "Multi-Arch: same\n"
    packages.deb(tmp_path, name="liburing2", version="2.3-3", more=more, data=library)
    tree = guest()
    after = tree.after(run(tree, tmp_path).changes)

    assert after.links["/usr/lib/x86_64-linux-gnu/liburing.so.2"] == "liburing.so.2.3"
    assert after.content[STATUS].count(b"Status: install ok installed") == 4
    assert "/var/lib/dpkg/info/liburing2:amd64.list" in after.content


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("Depends: libglib2.0-0 (>= 2.66)\n", "needs libglib2.0-0"),
        ("Depends: libc6 (>= 2.41)\n", "needs libc6"),
        ("Pre-Depends: libc6 (<< 2.36-9)\n", "needs libc6"),
        ("Conflicts: libc6\n", "does not go together with libc6"),
        ("Depends: something odd (~ 1)\n", "needs something odd"),
    ],
)
def test_a_package_whose_relations_the_guest_does_not_meet_is_not_installed(tmp_path, more, why):
    packages.deb(tmp_path, more=more)

    assert why in refusal(guest(), tmp_path)


def test_a_library_with_scripts_does_not_come_along(tmp_path):
    packages.deb(tmp_path, more="Depends: libx\n")
    packages.deb(tmp_path, name="libx", control={"./postinst": b"#!/bin/sh\n"})

    assert "whose scripts must run in the guest" in refusal(guest(), tmp_path)


def test_nothing_of_the_guests_own_is_replaced(tmp_path):
    packages.deb(tmp_path, data={"./etc/qemu/hook": b"new", "./usr/sbin/qemu-ga": b"x"})

    assert "/etc/qemu/hook of its own" in refusal(guest(**{"/etc/qemu/hook": "mine"}), tmp_path)


def test_configuration_that_an_agent_left_behind_is_not_overwritten(tmp_path):
    packages.deb(tmp_path)
    left = packages.status(("qemu-guest-agent", "1:5.2"), state="deinstall ok config-files")

    assert "left behind" in refusal(Memory({STATUS: left}), tmp_path)


def test_a_guest_without_space_stays_as_it_is(tmp_path):
    packages.deb(tmp_path)

    assert "no space" in refusal(Memory({STATUS: packages.status()}, space=1 << 20), tmp_path)


@pytest.mark.parametrize(
    ("version", "relation", "wanted", "true"),
    [
        ("1:7.2+dfsg-7+deb12u18", ">=", "1:7.2", True),
        ("7.2", "<<", "1:1.0", True),
        ("1.0~rc1", "<<", "1.0", True),
        ("1.0-1", ">>", "1.0", True),
        ("2.36-9+deb12u10", ">=", "2.36-9", True),
        ("1.10", ">>", "1.9", True),
        ("1.0a", ">>", "1.0+", False),
        ("2.3-3", "=", "2.3-3", True),
        ("2.3", "=", "2.3-0", True),
        ("9" * 300, ">=", "1", False),
    ],
)
def test_versions_are_ordered_as_dpkg_orders_them(version, relation, wanted, true):
    from convert.linux.dpkg import compares  # noqa: PLC0415

    assert compares(version, relation, wanted) is true
    require("dpkg")
    if len(version) < 100:
        known = subprocess.run(["dpkg", "--compare-versions", version, relation, wanted], check=False)
        assert (known.returncode == 0) is true


# --- packages that are damaged or hostile ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"./../../etc/shadow": b"x"}, "not a name inside a guest"),
        ({"/etc/shadow": b"x"}, "not a name inside a guest"),
        ({"./a\nb": b"x"}, "holds the name"),
        ({"./dev/sda": packages.special(tarfile.BLKTYPE)}, "neither a file, a folder nor a link"),
        ({"./usr/bin/x": packages.special(tarfile.LNKTYPE, "./etc/passwd")}, "hard link"),
        ({"./usr/bin/x": packages.special(tarfile.REGTYPE, mode=0o4755)}, "runs as its owner"),
        ({"./usr/bin/x": packages.special(tarfile.REGTYPE, owner=1000)}, "does not belong to root"),
    ],
)
def test_a_package_that_reaches_beyond_its_place_is_refused(tmp_path, data, why):
    packages.deb(tmp_path, data=data)

    with pytest.raises(UsageError, match=why):
        run(guest(), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an archive",
        packages.ar({"debian-binary": b"2.0\n"}),
        packages.ar({"control.tar.xz": b"not xz"}),
        packages.ar({"control.tar": b"not tar" * 100}),
        packages.ar({"control.tar.lzma2": b"x"}),
        b"!<arch>\n" + b"control.tar.xz".ljust(48) + b"9999999999`\n",
        packages.ar({"control.tar": packages.tar({"./control": b"Package: x\n"})}),
    ],
    ids=["empty", "text", "no control", "no xz", "no tar", "unknown", "large", "no version"],
)
def test_what_is_no_package_is_one_clear_line(tmp_path, content):
    (tmp_path / "bad.deb").write_bytes(content)

    with pytest.raises(UsageError, match=r"bad\.deb is no Debian package"):
        run(guest(), tmp_path)


def test_a_package_that_unpacks_to_more_than_the_limit_is_refused(tmp_path):
    packages.deb(tmp_path, data={"./usr/sbin/qemu-ga": bytes(130 << 20)})

    with pytest.raises(UsageError, match="unpacks to more than 128 MiB"):
        run(guest(), tmp_path)


def test_a_package_database_of_many_megabytes_takes_no_time(tmp_path):
    packages.deb(tmp_path)
    hostile = (
        "Package: dpkg\nStatus: a installed\nVersion: 1\n" + " \n" * (7 << 20) + "Provides: " + "a" * 4000
    )
    began = time.process_time()
    run(Memory({STATUS: hostile}), tmp_path)

    assert time.process_time() - began < 30


def test_a_package_database_beyond_the_limit_is_reported(tmp_path):
    packages.deb(tmp_path)

    assert "too large" in refusal(Memory({STATUS: bytes(17 << 20)}), tmp_path)


# --- RPM packages ------------------------------------------------------------------------------------------


def red_hat(**different) -> Memory:
    return Memory({**RPM_LIBRARIES, **different})


def test_an_rpm_package_waits_for_the_first_boot(tmp_path):
    package = packages.rpm(tmp_path, requires=("libc.so.6(GLIBC_2.34)(64bit)", "/bin/sh", "systemd"))
    tree = red_hat()
    done = run(tree, tmp_path)
    after = tree.after(done.changes)

    assert after.content[STAGED] == package.read_bytes()
    assert f"ExecStart=/usr/bin/rpm -U {STAGED}\n".encode() in after.content[UNIT]
    assert after.links["/etc/systemd/system/multi-user.target.wants/transferd-guest-agent.service"]
    assert codes(done) == ["agent-at-first-boot"]


def test_of_several_rpm_packages_the_newest_that_fits_is_taken(tmp_path):
    packages.rpm(tmp_path, version="9.1", release="1.el10", requires=("libc.so.6(GLIBC_2.38)(64bit)",))
    packages.rpm(tmp_path, requires=("libc.so.6(GLIBC_2.34)(64bit)",))
    packages.rpm(tmp_path, version="6.2", release="1.el8", requires=("libc.so.6(GLIBC_2.28)(64bit)",))

    assert run(red_hat(), tmp_path).changes[0].path == STAGED


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"requires": ("liburing.so.2(LIBURING_2.0)(64bit)",)}, "requires liburing.so.2"),
        ({"requires": ("libc.so.6(GLIBC_2.38)(64bit)",)}, "requires libc.so.6"),
        ({"requires": ("/usr/bin/python3",)}, "requires /usr/bin/python3"),
        ({"architecture": "aarch64"}, "it is for aarch64"),
        ({"name": "something-else"}, "no package of qemu-guest-agent"),
    ],
)
def test_an_rpm_package_that_does_not_fit_is_not_left(tmp_path, facts, why):
    packages.rpm(tmp_path, **facts)

    assert why in refusal(red_hat(), tmp_path)


def test_without_systemd_no_rpm_package_is_left(tmp_path):
    packages.rpm(tmp_path)

    assert "without systemd" in refusal(red_hat(), tmp_path, init="upstart")


@pytest.mark.parametrize("cut", [0, 50, 100, 120, 180])
def test_a_damaged_rpm_package_is_one_clear_line(tmp_path, cut):
    package = packages.rpm(tmp_path)
    package.write_bytes(package.read_bytes()[:cut])

    with pytest.raises(UsageError, match="is no RPM package"):
        run(red_hat(), tmp_path)


# --- the proof: Debian's own packages, and dpkg's own eyes --------------------------------------------------


def laid_out(tree: Memory, modes: dict[str, int], root: Path) -> Path:
    for path, content in tree.content.items():
        file = root / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(modes.get(path, 0o644))
    for path, target in tree.links.items():
        link = root / path.removeprefix("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for folder in ("updates", "triggers"):
        (root / "var/lib/dpkg" / folder).mkdir()
    return root


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder in which a Debian 12 has been given the real agent and the two libraries it lacked."""
    tree = Memory(packages.database())
    changes = run(tree, packages.debian12()).changes
    modes = {change.path: change.mode for change in changes if change.mode is not None}
    return laid_out(tree.after(changes), modes, tmp_path)


def test_dpkg_knows_the_real_agent_as_installed_and_finds_nothing_wrong(installed):
    shown = packages.dpkg(installed, "--list", "qemu-guest-agent", "liburing2", "libnuma1")

    known = sorted(line.split()[1] for line in shown.splitlines() if line.startswith("ii"))
    assert known == ["libnuma1:amd64", "liburing2:amd64", "qemu-guest-agent"]
    assert packages.dpkg(installed, "--audit") == ""
    assert packages.dpkg(installed, "--verify", "qemu-guest-agent", "liburing2", "libnuma1") == ""


def test_dpkg_sees_when_a_file_of_the_agent_was_changed(installed):
    (installed / "usr/sbin/qemu-ga").write_bytes(b"another")

    assert "/usr/sbin/qemu-ga" in packages.dpkg(installed, "--verify", "qemu-guest-agent")


def test_dpkg_removes_the_agent_without_leaving_a_file(installed):
    """Without its scripts, which would act on this machine."""
    before = packages.dpkg(installed, "--listfiles", "qemu-guest-agent").split()
    for script in (installed / "var/lib/dpkg/info").glob("qemu-guest-agent.p*"):
        script.unlink()
    packages.dpkg(installed, "--purge", "qemu-guest-agent")

    assert [path for path in before if (installed / path.removeprefix("/")).is_file()] == []
    assert "qemu-guest-agent" not in packages.dpkg(installed, "--get-selections")
