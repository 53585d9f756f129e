"""How nbdkit is started: the command line as golden data, and what its complaints mean."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from transferd import nbdkit
from transferd.errors import AuthenticationError, RetriesExhausted, SourceError, UsageError

GOLDEN = Path("tests/golden")

DISK = nbdkit.VddkDisk(
    libdir="/opt/vmware-vix-disklib-distrib",
    server="vcenter.example.com",
    port=443,
    user="migrate@vsphere.local",
    thumbprint="11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44",
    vm="vm-42",
    file="[datastore 1] web01/web01.vmdk",
    snapshot=None,
    transports="nbdssl:nbd",
)


@pytest.mark.parametrize(
    ("name", "snapshot", "config"),
    [("vddk-off", None, None), ("vddk-snapshot", "snapshot-7", Path("/run/t/vddk.ini"))],
)
def test_the_command_line_is_exactly_this(name, snapshot, config):
    argv = nbdkit.vddk_argv(
        replace(DISK, snapshot=snapshot),
        socket=Path("/run/t/nbd.sock"),
        pidfile=Path("/run/t/pid"),
        password_fd=7,
        config=config,
    )

    assert (GOLDEN / f"{name}.argv").read_text().splitlines() == argv


def test_the_retry_filter_is_never_loaded():
    """It forces one request in flight: the one thing that makes everybody else slow."""
    argv = nbdkit.vddk_argv(DISK, socket=Path("s"), pidfile=Path("p"), password_fd=7, config=None)

    assert not [word for word in argv if "retry" in word]


def test_the_password_travels_through_a_pipe():
    with nbdkit._pipe_holding("s3 cret") as fd:
        assert os.read(fd, 100) == b"s3 cret\n"


def test_vddk_settings_become_its_ini_file():
    settings = {"VixDiskLib.nfcAio.Session.BufSizeIn64KB": "16", "VixDiskLib.nfcAio.Session.BufCount": "4"}

    expected = "VixDiskLib.nfcAio.Session.BufSizeIn64KB = 16\nVixDiskLib.nfcAio.Session.BufCount = 4\n"
    assert expected == nbdkit.vddk_config(settings)


@pytest.mark.parametrize("settings", [{"a b": "1"}, {"a": "1\nb = 2"}, {"a\nb": "1"}, {"": "1"}])
def test_a_setting_cannot_smuggle_in_another_line(settings):
    with pytest.raises(UsageError, match=r"vddk\.config"):
        nbdkit.vddk_config(settings)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("nbdkit: error: /x/libvixDiskLib.so.8: cannot open shared object file", UsageError),
        ("nbdkit: vddk[1]: error: VixDiskLib_InitEx: One of the parameters was invalid", UsageError),
        ("nbdkit: error: VixDiskLib_ConnectEx: Insufficient permissions in the host operating system",
         AuthenticationError),
        ("nbdkit: vddk[1]: error: VixDiskLib_ConnectEx: Cannot connect to host", RetriesExhausted),
        ("nbdkit: vddk[1]: error: VixDiskLib_ConnectEx: The virtual machine cannot be found", SourceError),
        ("nbdkit: vddk[1]: error: VixDiskLib_Open: [ds] a/a.vmdk: A file was not found", SourceError),
        ("nbdkit: vddk[1]: error: VixDiskLib_Open: [ds] a/a.vmdk: Unknown error", SourceError),
        ("nbdkit: vddk[1]: error: VixDiskLib_Open: [ds] a/a.vmdk: You do not have access rights to this file",
         SourceError),
        ("nbdkit: vddk[1]: error: VixDiskLib_Open: [ds] a/a.vmdk: Something new in VDDK 10", SourceError),
    ],
)  # fmt: skip
def test_a_complaint_is_diagnosed_and_comes_with_a_remedy(said, kind):
    error = nbdkit.diagnose(["nbdkit: debug: hello", said], "Hard disk 1")

    assert type(error) is kind
    assert error.remedy


def test_output_without_complaint_is_no_error():
    assert nbdkit.diagnose(["nbdkit: warning: hello"], "Hard disk 1") is None
