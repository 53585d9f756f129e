"""The serial console is left as it is; what will not work on the new machine is said."""

import time

import pytest

from convert.linux.console import look_at_console
from convert.loaders.menu import Entry
from tests.convert.memory import Memory, inspection, wishes


def codes(options: str, files: dict[str, str] | None = None, init: str = "systemd") -> list[str]:
    entry = Entry(
        "/boot/grub/grub.cfg", "Debian", "/vmlinuz", (), f"root=UUID=1 ro {options} quiet", default=True
    )
    done = look_at_console(Memory(files or {}), inspection(entries=(entry,), init=init), wishes())
    assert done.changes == ()
    return [warning.code for warning in done.warnings]


@pytest.mark.parametrize(
    "options", ["", "console=tty0 console=ttyS0,115200n8", "console=ttyS1 console=tty0", "x.console=hvc0"]
)
def test_a_console_that_the_new_machine_has_needs_no_word(options):
    assert codes(options) == []


@pytest.mark.parametrize("options", ["console=ttyS1,9600", "console=hvc0", "console=ttyS1 console=ttyS2"])
def test_a_console_that_is_not_there_is_reported(options):
    assert codes(options) == ["console-not-there"]


def test_systemd_starts_a_login_by_itself_and_others_need_a_line_for_it():
    assert codes("console=ttyS0") == []
    assert codes("console=ttyS0", init="sysvinit") == ["console-without-login"]


@pytest.mark.parametrize(
    "files",
    [
        {"/etc/inittab": "1:2345:respawn:/sbin/getty tty1\nT0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n"},
        {"/etc/inittab": "ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100\n"},
        {"/etc/init/serial.conf": ""},
    ],
)
def test_a_login_on_the_port_is_found(files):
    assert codes("console=ttyS0", files, init="sysvinit") == []


def test_a_login_that_is_commented_out_is_none():
    files = {"/etc/inittab": "#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n"}

    assert codes("console=ttyS0", files, init="sysvinit") == ["console-without-login"]


def test_a_guest_whose_boot_entries_are_unknown_needs_no_word():
    assert look_at_console(Memory({}), inspection(), wishes()).warnings == ()


@pytest.mark.parametrize("inittab", [":respawn:getty " * 60_000, "x" * (2 << 20), ":respawn:\n" * 90_000])
def test_a_hostile_inittab_takes_no_time(inittab):
    began = time.process_time()

    assert codes("console=ttyS0", {"/etc/inittab": inittab}, init="sysvinit") == ["console-without-login"]
    assert time.process_time() - began < 10
