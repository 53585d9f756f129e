"""One disk of a vSphere VM through the real vddk plugin, judged by bytes, exit codes and what is left."""

import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, ended, refused, started, transferd, wait_until
from tests.conftest import require
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.nbd import our_nbdkits
from transferd import config
from transferd.model import VMRef
from transferd.units import MiB
from transferd.vsphere import session

DISK = "A0-B--C" * 2
TAIL = 5 * 512
HOSTILE = "we[red]b \u202e$(id);--x"  # markup, text direction, shell: all legal in a VM's name


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    return dsl.write(DISK, tmp_path_factory.mktemp("image") / "disk.img", tail=TAIL)


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory, image):
    require("nbdkit", "gcc", "make")
    nics = [Nic("00:50:56:01:02:03", slot=192, ips=["192.0.2.7"])]
    vms = [
        VM("off", disks=[Disk(image), Disk(image)], nics=nics),
        VM("on", disks=[Disk(image)], nics=nics, powered_on=True),
        VM(HOSTILE, disks=[Disk(image)]),
        VM("twin", disks=[Disk(image)]),
    ]
    with VSphere(tmp_path_factory.mktemp("vsphere"), vms) as running:
        yield running


@pytest.fixture
def settings(vsphere, tmp_path: Path) -> Path:
    return vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")


@pytest.fixture(autouse=True)
def nothing_stays_behind(vsphere):
    """After every test: no nbdkit of ours, no snapshot, power as it was."""
    yield
    wait_until(lambda: not our_nbdkits())
    assert vsphere.snapshots("on") == []
    assert vsphere.power_state("on") == "on"


def slow_copy(vsphere, folder: Path, target: Path, request_size: str) -> list[object]:
    """Arguments that copy the running VM's disk with one read of half a second in flight."""
    vsphere.latency_us = 500_000
    settings = vsphere.write_vcenter_yaml(folder / "slow.yaml")
    vsphere.latency_us = 0
    where = ("--vcenter", settings, "--vm", "on")
    return ["copy", *where, "--queue-depth", 1, "--request-size", request_size, target]


def test_the_inventory_lists_every_vm_with_harmless_names(settings):
    run = transferd("inventory", "--vcenter", settings)

    assert run.returncode == 0
    assert all(name in run.stdout for name in ("off", "on", "twin", "we[red]b"))
    assert "\u202e" not in run.stdout


def test_a_vm_is_described_as_the_source_document(settings, image):
    vm = json.loads(transferd("inventory", "--vcenter", settings, "--vm", "on", "--json").stdout)
    (disk,), (nic,) = vm["disks"], vm["nics"]

    assert (vm["schema"], vm["name"], vm["power_state"], vm["firmware"]) == (1, "on", "on", "bios")
    assert (disk["capacity"], disk["controller"]) == (image.stat().st_size, "pvscsi")
    assert disk["path"] == "[datastore1] on/on.vmdk"
    assert (nic["mac"], nic["slot"], nic["ips"]) == ("00:50:56:01:02:03", 192, ["192.0.2.7"])


@pytest.mark.parametrize(
    "trust",
    [
        lambda _: {},
        lambda v: {"thumbprint": v.thumbprint_sha256},
        lambda v: {"thumbprint": v.thumbprint.replace(":", "").lower()},
        lambda v: {"thumbprint": None, "caFile": str(v.ca_file)},
        lambda _: {"thumbprint": None, "insecure": True},
    ],
    ids=["sha-1", "sha-256", "without colons", "CA", "insecure"],
)
def test_a_server_is_trusted_in_every_way_that_was_asked_for(vsphere, tmp_path: Path, trust):
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", **trust(vsphere))

    assert transferd("inventory", "--vcenter", path).returncode == 0


@pytest.mark.parametrize("name", ["off", "on", HOSTILE])
def test_a_disk_is_copied_and_proven(settings, image, tmp_path: Path, name):
    target, result = tmp_path / "target", tmp_path / "result.json"

    run = transferd("copy", "--vcenter", settings, "--vm", name, "--disk", 0, target, "--result", result)
    copied = json.loads(result.read_text())["disks"][0]

    assert run.returncode == 0, run.stderr
    assert image.read_bytes() == target.read_bytes()
    assert copied["digest"] == transferd("digest", image).stdout.strip()
    assert copied["verify"]["mismatched"] == 0
    assert copied["data_bytes"] < image.stat().st_size


def test_a_running_vm_is_read_at_one_moment(vsphere, image, tmp_path: Path):
    """What the guest writes after the snapshot does not reach the copy."""
    target, disk = tmp_path / "target", vsphere.flat_file("on", 0)
    with subprocess.Popen(argv(*slow_copy(vsphere, tmp_path, target, "1MiB"))) as run:
        wait_until(lambda: vsphere.snapshots("on"))
        disk.write_bytes(b"new" + disk.read_bytes()[3:])
        assert run.wait(timeout=60) == 0
    disk.write_bytes(image.read_bytes())

    assert image.read_bytes() == target.read_bytes()


def test_the_password_is_in_no_command_line_and_no_environment(vsphere, tmp_path: Path):
    secret = vsphere.password.encode()
    with subprocess.Popen(argv(*slow_copy(vsphere, tmp_path, tmp_path / "target", "1MiB"))) as run:
        wait_until(our_nbdkits)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                assert secret not in (process / "cmdline").read_bytes()
                assert secret not in (process / "environ").read_bytes()
            except OSError:  # it ended, or it is the kernel's
                continue
        assert run.wait(timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_copy_removes_the_snapshot(vsphere, tmp_path: Path, number):
    with started(*slow_copy(vsphere, tmp_path, tmp_path / "target", "64KiB")) as run:
        wait_until(lambda: vsphere.snapshots("on"))
        run.send_signal(number)
        done = ended(run, 60)

    refused(done, 8, "signal")


@pytest.mark.parametrize("number", [-1, 2])
def test_a_disk_number_out_of_range_says_how_many_there_are(settings, tmp_path: Path, number):
    run = transferd("copy", "--vcenter", settings, "--vm", "off", "--disk", number, tmp_path / "target")

    refused(run, 2, f"no disk {number}", "has 2")


def test_an_unknown_vm_is_named(settings, tmp_path: Path):
    refused(
        transferd("copy", "--vcenter", settings, "--vm", "nobody", tmp_path / "t"), 2, "'nobody'", "inventory"
    )


def test_a_wrong_password_is_not_tried_again(vsphere, tmp_path: Path):
    (tmp_path / "password").write_text("wrong\n")
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", passwordFile=str(tmp_path / "password"))

    refused(transferd("inventory", "--vcenter", path), 3, "InvalidLogin", "passwordFile")


def test_a_wrong_thumbprint_shows_both(vsphere, tmp_path: Path):
    wrong = ":".join(["AB"] * 20)
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", thumbprint=wrong)

    refused(transferd("inventory", "--vcenter", path), 3, wrong, vsphere.thumbprint)


def test_a_certificate_of_another_authority_is_refused(vsphere, tmp_path: Path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", tmp_path / "key", "-out", tmp_path / "ca.pem", "-subj", "/CN=other"],
        check=True, capture_output=True,
    )  # fmt: skip
    path = vsphere.write_vcenter_yaml(
        tmp_path / "vcenter.yaml", thumbprint=None, caFile=str(tmp_path / "ca.pem")
    )

    refused(transferd("inventory", "--vcenter", path), 3, "certificate refused")


def test_an_unreachable_vcenter_ends_in_time_with_exit_10(vsphere, tmp_path: Path):
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", url="https://127.0.0.1:9/sdk")
    began = time.monotonic()

    refused(transferd("inventory", "--vcenter", path), 10, "does not answer")
    assert time.monotonic() - began < 60


def test_a_vcenter_that_accepts_and_says_nothing_ends_in_time_with_exit_10(vsphere, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/sdk"
        path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", url=url)

        refused(transferd("inventory", "--vcenter", path), 10, "timed out")


@pytest.mark.parametrize("vm", ["off", "on"])
def test_a_missing_vddk_library_is_found_before_anything_is_touched(vsphere, tmp_path: Path, vm):
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", vddk={"libdir": str(tmp_path)})

    refused(transferd("copy", "--vcenter", path, "--vm", vm, tmp_path / "t"), 2, "libvixDiskLib", "libdir")
    assert not (tmp_path / "t").exists()


def test_a_target_that_is_too_small_is_refused_before_a_snapshot_is_taken(
    settings, loop_device, tmp_path: Path
):
    device = loop_device(MiB)
    journal = ["--journal", tmp_path / "journal"]

    refused(transferd("copy", "--vcenter", settings, "--vm", "on", device, *journal), 5, "too small")


def test_a_vddk_that_refuses_the_login_is_exit_3(vsphere, tmp_path: Path):
    """vCenter lets the user in, VDDK does not: the registry of the double says otherwise."""
    registry = tmp_path / "registry"
    registry.mkdir()
    for file in (vsphere.state / "registry").iterdir():
        text = re.sub("^password .*$", "password other", file.read_text(), flags=re.MULTILINE)
        (registry / file.name).write_text(text)
    vddk = {"libdir": str(vsphere.libdir), "config": {"transferd.double.state": str(registry)}}
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", vddk=vddk)

    refused(
        transferd("copy", "--vcenter", path, "--vm", "off", tmp_path / "t"), 3, "Insufficient permissions"
    )


def test_a_larger_file_is_refused_and_kept(settings, tmp_path: Path):
    target = tmp_path / "larger"
    target.write_bytes(bytes(100 * MiB))

    refused(transferd("copy", "--vcenter", settings, "--vm", "on", target), 5, "already holds")
    assert target.stat().st_size == 100 * MiB


async def test_a_session_that_vcenter_dropped_is_renewed(vsphere, settings):
    """vCenter ends a session after 30 idle minutes; a copy takes longer."""
    chosen = config.vcenter(settings)
    async with session.connect(chosen, lambda: config.password(chosen)) as ours:
        vm = ours.read_vm(VMRef(name="on"))
        key = ours.content.sessionManager.currentSession.key
        with vsphere.connect() as service:
            service.content.sessionManager.TerminateSession([key])

        assert ours.power_state(vm) == "on"
