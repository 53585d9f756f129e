"""What the controller lets into the cluster of a manifest whose author may be an enemy."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from control.admission import Grant, admit, violations
from control.document import MAX_BYTES, read
from convert.manifest import build
from tests.golden.cases import CASES, FOLDER, Case
from tests.hostile import cases
from transferd.errors import UsageError

HOOK = '[{"image": "evil/sidecar"}]'


def golden(name: str):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def granted(case: Case, **changed: object) -> Grant:
    """What the controller knows of this case: the request that it wrote itself."""
    fields = {
        "name": case.request.name,
        "namespace": case.request.namespace,
        "claims": frozenset(case.request.claims),
        "networks": frozenset(case.request.network_map.values()),
    }
    return Grant(**{**fields, **changed})


MANIFEST = golden("bios-two-disks")
GRANT = granted(CASES["bios-two-disks"])
INSTANCE = ("spec", "template", "spec")
DOMAIN = (*INSTANCE, "domain")
DEVICES = (*DOMAIN, "devices")


def changed(path: tuple[str | int, ...], value: object):
    """The admissible manifest with one thing in it set to `value`."""
    manifest = copy.deepcopy(MANIFEST)
    inner = manifest
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return manifest


# --- manifests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_what_the_converter_writes_is_admitted_unchanged(name: str):
    assert admit(golden(name), granted(CASES[name])) == golden(name)


@given(cases(anything=False))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_of_an_inventory_or_a_guest_keeps_a_manifest_out(case: Case):
    assert violations(build(case.source, case.result, case.request), granted(case)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("apiVersion",), "v1"),
        (("kind",), "Pod"),
        (("status",), {}),
        (("metadata", "name"), "payroll"),
        (("metadata", "namespace"), "kube-system"),
        (("metadata", "finalizers"), ["evil/hold"]),
        (("metadata", "ownerReferences"), []),
        (("metadata", "labels", "app"), "payroll"),
        (("metadata", "labels", "transferd.io/owner"), "x"),
        (("metadata", "labels", "transferd.io/moref"), "x y"),
        (("metadata", "annotations", "hooks.kubevirt.io/hookSidecars"), HOOK),
        (("metadata", "annotations", "transferd.io/guest"), "a\nb"),
        (("spec", "runStrategy"), "Always"),
        (("spec", "running"), True),
        (("spec", "dataVolumeTemplates"), []),
        (("spec", "instancetype"), {"name": "huge"}),
        (("spec", "template", "metadata"), {"annotations": {"hooks.kubevirt.io/hookSidecars": HOOK}}),
        ((*INSTANCE, "nodeSelector"), {"kubernetes.io/hostname": "control-plane"}),
        ((*INSTANCE, "tolerations"), [{"operator": "Exists"}]),
        ((*INSTANCE, "affinity"), {}),
        ((*INSTANCE, "priorityClassName"), "system-node-critical"),
        ((*INSTANCE, "schedulerName"), "evil"),
        ((*INSTANCE, "accessCredentials"), []),
        ((*INSTANCE, "livenessProbe"), {"exec": {"command": ["x"]}}),
        ((*INSTANCE, "resourceClaims"), []),
        ((*INSTANCE, "terminationGracePeriodSeconds"), 10**9),
        ((*INSTANCE, "volumes", 0, "persistentVolumeClaim", "claimName"), "payroll-data"),
        ((*INSTANCE, "volumes", 0, "persistentVolumeClaim", "hotpluggable"), True),
        ((*INSTANCE, "volumes", 0, "hostDisk"), {"path": "/etc/shadow", "type": "Disk"}),
        ((*INSTANCE, "networks", 0), {"name": "net-0", "multus": {"networkName": "kube-system/host"}}),
        ((*INSTANCE, "networks", 0, "pod"), {"vmNetworkCIDR": "10.0.0.0/8"}),
        ((*DOMAIN, "firmware", "kernelBoot"), {"container": {"image": "evil"}}),
        ((*DOMAIN, "firmware", "acpi"), {"slicNameRef": "secret"}),
        ((*DOMAIN, "firmware", "serial"), "<x/>"),
        ((*DOMAIN, "machine", "type"), "q35,accel=tcg"),
        ((*DOMAIN, "cpu", "model"), "host-passthrough"),
        ((*DOMAIN, "cpu", "dedicatedCpuPlacement"), True),
        ((*DOMAIN, "cpu", "cores"), True),
        ((*DOMAIN, "cpu", "sockets"), 10**6),
        ((*DOMAIN, "memory", "guest"), "1Ei"),
        ((*DOMAIN, "memory", "hugepages"), {"pageSize": "1Gi"}),
        ((*DOMAIN, "launchSecurity"), {}),
        ((*DOMAIN, "resources"), {"overcommitGuestOverhead": True}),
        ((*DEVICES, "hostDevices"), [{"deviceName": "intel.com/qat", "name": "q"}]),
        ((*DEVICES, "gpus"), [{"deviceName": "nvidia.com/GV100", "name": "g"}]),
        ((*DEVICES, "filesystems"), []),
        ((*DEVICES, "clientPassthrough"), {}),
        ((*DEVICES, "downwardMetrics"), {}),
        ((*DEVICES, "autoattachPodInterface"), True),
        ((*DEVICES, "autoattachVSOCK"), True),
        ((*DEVICES, "disks", 0, "lun"), {"reservation": True}),
        ((*DEVICES, "disks", 0, "shareable"), True),
        ((*DEVICES, "disks", 0, "disk", "bus"), "scsi"),
        ((*DEVICES, "disks", 0, "serial"), "a,b"),
        ((*DEVICES, "interfaces", 0, "sriov"), {}),
        ((*DEVICES, "interfaces", 0, "binding"), {"name": "passt"}),
        ((*DEVICES, "interfaces", 0, "macAddress"), "ff:ff:ff:ff:ff:ff"),
    ],
    ids=lambda it: (
        ".".join(map(str, it)).replace("spec.template.spec", "...") if isinstance(it, tuple) else ""
    ),
)
def test_what_is_not_listed_is_refused_where_it_stands(path: tuple[str | int, ...], value: object):
    (violation,) = violations(changed(path, value), GRANT)

    assert violation.startswith((spelt(path), f"{spelt(path[:-1])}: field '{path[-1]}'"))


def spelt(path: tuple[str | int, ...]) -> str:
    return "manifest" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)


@pytest.mark.parametrize(
    "source",
    [
        "cloudInitNoCloud",
        "configMap",
        "containerDisk",
        "dataVolume",
        "downwardAPI",
        "emptyDisk",
        "ephemeral",
        "hostDisk",
        "memoryDump",
        "secret",
        "serviceAccount",
        "sysprep",
    ],
)
def test_a_volume_is_a_granted_claim_and_nothing_else(source: str):
    found = violations(changed((*INSTANCE, "volumes", 1), {"name": "disk-1", source: {}}), GRANT)

    assert f"manifest.spec.template.spec.volumes[1]: field '{source}' is not allowed" in found


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            (*INSTANCE, "volumes", 1, "persistentVolumeClaim", "claimName"),
            "web-01-disk-0",
            ["'web-01-disk-0' is used 2 times", "'web-01-disk-1' is not used"],
        ),
        ((*INSTANCE, "volumes"), [], ["not the same names", "is not used"]),
        ((*INSTANCE, "volumes", 1, "name"), "disk-0", ["not the same names"]),
        ((*INSTANCE, "networks"), [], ["interfaces and networks: not the same names"]),
        ((*INSTANCE, "networks", 0), {"name": "net-0"}, ["net-0 is not pod with masquerade"]),
        ((*DEVICES, "disks", 1, "bootOrder"), 1, ["more than one is the first to boot from"]),
        (
            (*DEVICES, "interfaces", 0, "bridge"),
            {},
            ["net-0 is not pod with masquerade or multus with bridge"],
        ),
    ],
)
def test_parts_must_fit_each_other(path: tuple[str | int, ...], value: object, said: list[str]):
    found = "; ".join(violations(changed(path, value), GRANT))

    assert [words for words in said if words not in found] == []


def test_the_pod_network_is_used_once():
    manifest = golden("efi-secure-boot-multus")
    instance = manifest["spec"]["template"]["spec"]
    instance["networks"][0] = {"name": "net-0", "pod": {}}
    del instance["domain"]["devices"]["interfaces"][0]["bridge"]
    instance["domain"]["devices"]["interfaces"][0]["masquerade"] = {}

    found = violations(manifest, granted(CASES["efi-secure-boot-multus"]))
    assert found == ["networks: more than one is the pod network"]


def test_a_grant_without_networks_admits_none():
    found = violations(MANIFEST, granted(CASES["bios-two-disks"], networks=frozenset()))

    assert found == ["manifest.spec.template.spec.networks[0]: field 'pod' is not allowed"]


@pytest.mark.parametrize("manifest", [None, [], "kind: VirtualMachine", 7, {}, {1: 2}, {"spec": []}])
def test_what_is_no_manifest_at_all_is_refused(manifest: object):
    assert violations(manifest, GRANT)


def test_all_violations_are_told_at_once_on_one_line_and_cut():
    manifest = changed(("spec", "runStrategy"), "Always\x1b[2J\n")
    manifest |= {f"x{i}": "y" * 9999 for i in range(100)}

    with pytest.raises(UsageError) as refused:
        admit(manifest, GRANT)

    text = str(refused.value)
    assert text.isprintable()
    assert "manifest.spec.runStrategy: 'Always" in text
    assert "field 'x0' is not allowed" in text
    assert "and 81 more" in text
    assert len(text) < 4096


# --- documents -------------------------------------------------------------------------------------------


def refused_text(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "manifest.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read(path)
    assert str(refused.value).isprintable()
    return str(refused.value)


def test_an_alias_bomb_is_refused_before_it_unfolds(tmp_path: Path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]

    assert "it has an alias" in refused_text(tmp_path, "\n".join(lines).encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 1000, "nested deeper"),
        (b"- x\n" * 30_000, "more than 20000 nodes"),
        (b"a: 1" + b":1" * 100_000, "more than 1024 characters"),
        (b"a" * (MAX_BYTES + 1), f"larger than {MAX_BYTES} bytes"),
        (b"a: \xff", "utf-8"),
        (b"a: 2001-99-99", "month"),
        (b"a: 1\n---\nb: 2", "document"),
        (b"!!python/object/apply:os.system [id]", "python/object"),
        (b"a: \x1b[2J", "special characters"),
        (b"? [a]\n: b", "unhashable"),
    ],
    ids=["deep", "wide", "long number", "large", "binary", "date", "two", "python", "control", "key"],
)
def test_a_document_beyond_a_limit_is_refused(tmp_path: Path, content: bytes, said: str):
    assert said in refused_text(tmp_path, content)


# --- the command -----------------------------------------------------------------------------------------


def controller(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "control", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def admit_command(**changed: str) -> subprocess.CompletedProcess[str]:
    options = {"name": "web-01", "namespace": "shop", "network": "pod", **changed}
    claims = ("--claim", "web-01-disk-0", "--claim", "web-01-disk-1")
    pairs = [word for name, value in options.items() for word in (f"--{name}", value)]
    return controller("admit", str(FOLDER / "bios-two-disks.yaml"), *claims, *pairs)


def test_the_command_admits_what_a_migration_was_given():
    done = admit_command()

    assert (done.returncode, done.stdout, done.stderr) == (0, "admitted: VirtualMachine shop/web-01\n", "")


def test_the_command_refuses_on_one_line():
    done = admit_command(namespace="other", network="a/b")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "manifest.metadata.namespace" in done.stderr
    assert "field 'pod' is not allowed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command"),
        (["reconcile"], "No such command"),
        (["admit"], "Missing argument"),
        (["admit", "/nonexistent", "--name", "a", "--namespace", "b"], "read /nonexistent: no such file"),
    ],
    ids=["nothing", "unknown command", "no manifest", "no such file"],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(arguments: list[str], said: str):
    done = controller(*arguments)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
