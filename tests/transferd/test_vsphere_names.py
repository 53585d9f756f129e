"""The bad-input rows B12-B20: what a vCenter says of its VMs, and what people say to mean one of them."""

import ast
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pyVmomi import vim

from tests import dsl
from tests.cli import refused, transferd
from tests.conftest import require
from tests.doubles import artifacts
from tests.doubles.inventory import find_vm, wait_for
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.line import MANIFEST, Job
from transferd import config, nbdkit, options
from transferd.backends.nbd import NbdSession
from transferd.errors import SourceError, UsageError
from transferd.vsphere import changes

NAMES = {
    "shell": 'we\'b "1" $(id) `id`; a|b && c > d',
    "option": "--fresh",
    "file": "@file",
    "line break": "web\nforged: error: all is well\n",
    "NUL, spelt": "web%00",
    "path": "..%2f..%2fetc%2fpasswd",
    "dots": "..",
    "inventory path": "*+_%2f",
    "YAML mapping": "a: b",
    "YAML tag": "!!python:os.system {{x}} # y",
    "YAML number": "0x10",
    "YAML null": "~",
    "emoji": "\U0001f98a" * 80,
    "300 characters": "x" * 300,
    "invisible": "we\u202eb\u200b\u0430",
}
LONGEST_FILE = 200  # bytes of a name that is a file's, too, with something behind it


def files_of(name: str) -> str:
    """What a VM's files are called: as it was when it was created. vcsim makes none with a % in its name."""
    return (
        name
        if "%" not in name and len(name.encode()) < LONGEST_FILE
        else f"was {[*NAMES.values()].index(name)}"
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    return dsl.write("A", tmp_path_factory.mktemp("image") / "disk.img", tail=512)


@pytest.fixture(scope="module")
def other_image(tmp_path_factory) -> Path:
    return dsl.write("B", tmp_path_factory.mktemp("image") / "disk.img", tail=512)


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory, image, other_image) -> Iterator[VSphere]:
    require("nbdkit")
    nics = [Nic("00:50:56:01:02:03")]
    names = [*map(files_of, NAMES.values()), "slug a", "slug:a", "twin 1", "twin 2"]
    vms = [VM(name, disks=[Disk(other_image if name == "twin 2" else image)], nics=nics) for name in names]
    with VSphere(tmp_path_factory.mktemp("vsphere"), vms) as running:
        with running.connect() as service:
            for name in NAMES.values():
                wait_for(find_vm(service, files_of(name)).ReconfigVM_Task(vim.vm.ConfigSpec(name=name)))
        yield running


@pytest.fixture
def settings(vsphere, tmp_path: Path) -> Path:
    vsphere.reset_calls()
    return vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")


def migration(vsphere: VSphere, folder: Path, **vm: str) -> Job:
    """A cold migration without conversion, whose state is where it is unless told otherwise."""
    manifest = MANIFEST | {"claims": MANIFEST["claims"][:1]}
    return Job(folder).write(vsphere, vm=vm, state=None, convert="none", manifest=manifest)


def migrated(job: Job, *options: str) -> subprocess.CompletedProcess[str]:
    return transferd(*options, "migrate", job.spec, "--result", job.result, cwd=job.folder)


# --- B12-B15: names of VMs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_b12_to_b15_a_vm_is_migrated_whatever_it_is_called(vsphere, image, tmp_path: Path, name):
    job = migration(vsphere, tmp_path / "job", name=name)
    done = migrated(job, "--debug")

    assert done.returncode == 0, done.stderr
    assert job.targets[0].read_bytes() == image.read_bytes()
    (state,) = job.folder.glob("transferd-*")
    ours = {"vcenter.yaml", "migration.yaml", "targets", "migration-result.json", state.name}
    assert {path.name for path in job.folder.iterdir()} == ours
    assert [path.name for path in tmp_path.iterdir()] == ["job"]
    assert json.loads((state / "source.json").read_text())["name"] == name
    assert yaml.safe_load((state / "manifest.yaml").read_text())["kind"] == "VirtualMachine"
    assert all(line.isprintable() for line in done.stderr.splitlines())
    assert not any(line.startswith("forged") for line in done.stderr.split("\n"))
    require_plain(argv_of(done.stderr), name)


def argv_of(stderr: str) -> list[str]:
    (line,) = [line for line in stderr.splitlines() if "event='starting nbdkit'" in line]
    found: list[str] = ast.literal_eval(line.partition("argv=")[2])
    return found


def require_plain(argv: list[str], name: str) -> None:
    """Behind the plugin's name there is nothing but key=value, and the disk's file is one of them."""
    values = dict(item.split("=", 1) for item in argv[argv.index("vddk") + 1 :])
    known = {"libdir", "server", "port", "user", "password", "thumbprint", "vm", "file", "transports",
             "maxdata", "config"}  # fmt: skip

    assert values.keys() == known
    folder = "".join("_" if ord(c) < 32 else c for c in files_of(name))  # as the double's datastore has it
    folder = f"_{folder}" if folder.startswith(".") else folder
    assert values["file"] == f"[datastore1] {folder}/{folder}.vmdk"


@pytest.mark.parametrize(
    "name", ["y" * 300, "web\0", "/", "../../etc/passwd", " ", "WEB%00"], ids=lambda name: repr(name)[:9]
)
def test_b13_b15_a_name_that_no_vm_has_is_refused_and_leads_nowhere_else(vsphere, tmp_path: Path, name):
    job = migration(vsphere, tmp_path / "a" / "job", name=name)

    refused(migrated(job), 2, "no VM", "inventory")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["job"]
    (state,) = job.folder.glob("transferd-*")
    assert [path.name for path in state.iterdir()] == ["lock"]
    assert [*(job.folder / "targets").iterdir()] == []


def test_b15_two_names_that_become_the_same_folder_are_not_mixed_up(vsphere, image, tmp_path: Path):
    first = migrated(migration(vsphere, tmp_path / "job", name="slug a"))
    job = migration(vsphere, tmp_path / "job", name="slug:a")

    assert first.returncode == 0
    assert job.targets[0].read_bytes() == image.read_bytes()
    refused(migrated(job), 2, "another VM", "state directory")


# --- B16, B19: which VM is meant -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins(vsphere) -> dict[str, str]:
    """The instanceUuid of each of two VMs that have everything else in common, by moref."""
    with vsphere.connect() as service:
        vms = [find_vm(service, f"twin {number}") for number in (1, 2)]
        for vm in vms:
            wait_for(vm.ReconfigVM_Task(vim.vm.ConfigSpec(name="twin", uuid=vms[0].config.uuid)))
        return {vm._moId: vm.config.instanceUuid for vm in vms}


def test_b16_a_name_that_two_vms_have_is_refused_and_both_are_named(settings, twins, tmp_path: Path):
    refused(
        transferd("copy", "--vcenter", settings, "--vm", "twin", tmp_path / "t"),
        2,
        "2 VMs are called",
        *twins,
    )
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("kind", ["moref", "instanceUuid"])
def test_b16_either_is_found_by_what_it_has_alone(vsphere, twins, other_image, tmp_path: Path, kind):
    (_, (moref, instance)) = twins.items()
    job = migration(vsphere, tmp_path / "job", **{kind: moref if kind == "moref" else instance})

    assert migrated(job).returncode == 0
    assert job.targets[0].read_bytes() == other_image.read_bytes()


@pytest.mark.parametrize(
    "vm",
    [
        {"moref": ""}, {"moref": "vm-1 "}, {"moref": "vm-1\n"}, {"moref": "vm-1/../vm-2"},
        {"moref": "moref=vm-1"}, {"moref": "vm-\uff11"}, {"moref": "v" * 81}, {"moref": "<x/>"},
        {"instanceUuid": ""}, {"instanceUuid": "5029"}, {"instanceUuid": "*"},
        {"instanceUuid": "x" * 10_000}, {"instanceUuid": "5029c440-5a2f-8d7f-2f0b-000000000000\n"},
    ],
    ids=lambda vm: repr(*vm.values())[:20],
)  # fmt: skip
def test_b19_what_is_no_reference_to_a_vm_is_refused_by_the_file_that_says_it(tmp_path: Path, vm):
    path = tmp_path / "migration.yaml"
    path.write_text(json.dumps({"schema": 1, "vcenter": "none.yaml", "vm": vm, "targetDir": "."}))

    with pytest.raises(UsageError, match=r"migration\.yaml: vm\.") as caught:
        config.migration(path, config.MigrationSpec)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("moref", ["", "snapshot-1,vm-2", "snapshot-1\n", "../x", "s" * 81, "snapshot=1"])
def test_b19_what_is_no_snapshot_is_not_asked_about(moref):
    """There is no session that could be asked."""
    vm = config.VMRef(name="web")
    with pytest.raises(SourceError, match="moref"):
        changes.changed_areas(None, vm, moref, 2000, 1 << 20, "*")  # type: ignore[arg-type]


# --- B17, B18: names of files and datastores -------------------------------------------------------------

FILES = [
    "[ds] a/b'c\".vmdk", "[ds] a]/[b].vmdk", "[ds] a/a-000001.vmdk", "[ds] -/-.vmdk", "[ds] a=b/c=d.vmdk",
    "[nbd:] a/a.vmdk", "[-] a/a.vmdk", "[+x] a/a.vmdk", "[-fd] a/a.vmdk", "[] a/a.vmdk", "[ds]  a/ b .vmdk",
    "[$(id)] `id`/;.vmdk", "[ds] \u202e\U0001f98a/a.vmdk", "[%2f] %00/%2e.vmdk", "+x", "-5", "nbd:localhost",
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
async def test_b17_b18_a_disk_is_asked_for_by_exactly_its_name(image, tmp_path: Path, file):
    """The stand-in for VMware's library opens it only if the whole path arrives as it is."""
    require("nbdkit", "make")
    registry = tmp_path / "registry"
    registry.mkdir()
    thumbprint = ":".join(["AA"] * 20)
    server = f"host localhost\nport 443\nthumbprint {thumbprint}\nuser root\npassword secret\n"
    (registry / "server").write_text(server)
    (registry / "vm-1").write_text(f"power poweredOff\npath {file}\nfile {image}\n")
    artifacts.build_plugin()
    disk = nbdkit.VddkDisk(
        libdir=str(artifacts.build().libdir), server="localhost", port=443, user="root",
        thumbprint=thumbprint, vm="vm-1", file=file, snapshot=None, transports="nbdssl",
    )  # fmt: skip
    config_ = {"transferd.double.state": str(registry)}
    served = await nbdkit.start(disk, password="secret", config=config_, label="disk")
    try:
        session = NbdSession(served.uri, 10.0)
        assert session.size == image.stat().st_size
        session.close()
    finally:
        await served.stop()


@pytest.mark.parametrize("file", [*FILES, "[ds] a\nvm=moref=vm-2/a.vmdk", "[ds] a,snapshot=x/a.vmdk"])
def test_b17_a_file_name_is_one_argument(file):
    disk = nbdkit.VddkDisk("/opt", "h", 443, "u", "AA", "vm-1", "", None, "nbdssl")
    where = {"socket": Path("/s"), "pidfile": Path("/p"), "password_fd": 7, "config": None}
    plain = nbdkit.vddk_argv(disk, **where)
    argv = nbdkit.vddk_argv(replace(disk, file=file), **where)

    assert argv == [f"file={file}" if item == "file=" else item for item in plain]


# --- B20: changeIds --------------------------------------------------------------------------------------

UUID = "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63"


@pytest.mark.parametrize(
    "change_id",
    ["", "*", UUID, f"{UUID}/", f"{UUID}/x", f"{UUID}/-1", f"{UUID} /1", f"{UUID[:-3]}/1", f"x{UUID}/1",
     f"{UUID}/1\n", f"{UUID}/1 or 1", f"{UUID}/{'9' * 10_000}", f"{UUID.replace(' ', '')}/1"],
    ids=lambda text: repr(text)[-20:],
)  # fmt: skip
def test_b20_what_is_no_change_id_is_refused(change_id):
    with pytest.raises(UsageError, match=r"--since .* is not a changeId") as caught:
        options.require_change_id(change_id)

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("change_id", ["", "*", "9" * 10_000])
def test_b20_and_nobody_is_asked_about_it(vsphere, settings, tmp_path: Path, change_id):
    run = transferd("delta", "--vcenter", settings, "--vm", "twin", "--since", change_id, tmp_path / "t")

    refused(run, 2, "--since", "is not a changeId")
    assert vsphere.calls() == {}
