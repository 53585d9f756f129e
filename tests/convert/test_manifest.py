"""The VirtualMachine that a migrated guest becomes, checked against KubeVirt's own schema."""

from __future__ import annotations

import copy
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from convert.manifest import build, render
from tests.golden.cases import CASES, FOLDER, Case, disk
from tests.hostile import cases
from tests.schema import validate
from transferd.errors import UsageError

BIOS = CASES["bios-two-disks"]
EFI = CASES["efi-secure-boot-multus"]


def manifest_of(case: Case, source: dict | None = None, request: dict | None = None):
    return build(
        case.source.model_copy(update=source or {}),
        case.result,
        case.request.model_copy(update=request or {}),
    )


def refusal(case: Case, source: dict | None = None, request: dict | None = None) -> str:
    with pytest.raises(UsageError) as refused:
        manifest_of(case, source, request)
    return str(refused.value)


def domain(manifest: dict) -> dict:
    return manifest["spec"]["template"]["spec"]["domain"]


# --- what a user gets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_manifest_is_the_golden_one(name: str):
    golden = (FOLDER / f"{name}.yaml").read_text()

    assert golden == render(manifest_of(CASES[name])), (
        "python -m tests.golden rewrites it; review the difference"
    )


@pytest.mark.parametrize("name", CASES)
def test_kubevirt_accepts_the_golden_manifest(name: str):
    assert validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text())) == []


def test_a_misspelt_field_is_no_virtual_machine():
    manifest = manifest_of(BIOS)
    domain(manifest)["clokc"] = domain(manifest).pop("clock")

    assert validate(manifest) == [
        "$.spec.template.spec.domain: Additional properties are not allowed ('clokc' was unexpected)"
    ]


def test_a_misspelt_field_deep_in_a_list_is_no_virtual_machine():
    manifest = manifest_of(BIOS)
    domain(manifest)["devices"]["interfaces"][0]["macAdress"] = "00:50:56:00:00:01"

    (error,) = validate(manifest)
    assert error.startswith("$.spec.template.spec.domain.devices.interfaces[0]: ")
    assert "macAdress" in error


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("cpu", "cores"), "2"),
        (("cpu", "sockets"), True),
        (("memory", "guest"), "4 GiB"),
        (("devices", "disks"), {}),
        (("firmware", "bootloader"), "efi"),
    ],
    ids=lambda it: ".".join(it) if isinstance(it, tuple) else repr(it),
)
def test_a_value_of_the_wrong_type_is_no_virtual_machine(place: tuple[str, str], value: object):
    manifest = copy.deepcopy(manifest_of(BIOS))
    domain(manifest)[place[0]][place[1]] = value

    (error,) = validate(manifest)
    assert error.startswith(f"$.spec.template.spec.domain.{place[0]}.{place[1]}: ")


# --- hardware --------------------------------------------------------------------------------------------


def test_the_guest_reads_the_serial_number_that_vmware_gave_it():
    manifest = manifest_of(BIOS, source={"bios_uuid": "421d0102-0304-0506-0708-090a0b0c0d0e"})

    assert domain(manifest)["firmware"]["serial"] == "VMware-42 1d 01 02 03 04 05 06-07 08 09 0a 0b 0c 0d 0e"


def test_efi_without_secure_boot_says_so_because_the_default_of_kubevirt_is_on():
    manifest = manifest_of(EFI, source={"secure_boot": False})

    assert domain(manifest)["firmware"]["bootloader"] == {"efi": {"secureBoot": False}}
    assert "smm" not in domain(manifest)["features"]


@pytest.mark.parametrize(
    ("cpus", "per_socket", "sockets", "cores"),
    [(8, 4, 2, 4), (8, 0, 8, 1), (6, 4, 6, 1), (1, 1, 1, 1), (4, -1, 4, 1)],
)
def test_cpus_are_never_lost_in_a_topology(cpus: int, per_socket: int, sockets: int, cores: int):
    manifest = manifest_of(BIOS, source={"cpus": cpus, "cores_per_socket": per_socket})

    assert domain(manifest)["cpu"] == {"sockets": sockets, "cores": cores, "threads": 1}


def test_memory_is_never_less_than_the_source_had():
    assert domain(manifest_of(BIOS, source={"memory": (3 << 30) + 1}))["memory"] == {"guest": "3073Mi"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cpus": 0}, "0 CPUs"),
        ({"cpus": 1 << 70}, "CPUs"),
        ({"memory": 0}, "0 bytes of memory"),
        ({"memory": 1 << 70}, "bytes of memory"),
        ({"bios_uuid": "x\n\x1b[2J"}, "BIOS UUID"),
        ({"disks": [], "nics": []}, "boots from disk 0 and the source has 0"),
    ],
    ids=["no CPU", "absurd CPUs", "no memory", "absurd memory", "BIOS UUID", "no disks"],
)
def test_a_source_that_vsphere_cannot_have_written_is_refused(changed: dict, said: str):
    text = refusal(BIOS, source=changed)

    assert said in text
    assert text.isprintable()


def test_a_result_of_another_guest_is_refused():
    caps = BIOS.result.caps.model_copy(update={"boot_disk": 2})
    with pytest.raises(UsageError, match="boots from disk 2 and the source has 2"):
        build(BIOS.source, BIOS.result.model_copy(update={"caps": caps}), BIOS.request)


# --- disks and claims ------------------------------------------------------------------------------------


def test_every_disk_without_a_claim_is_named():
    assert "no claim for Hard disk 1, Hard disk 2" in refusal(BIOS, request={"claims": []})


def test_one_claim_for_two_disks_is_refused():
    assert "more than one disk on claim a" in refusal(BIOS, request={"claims": ["a", "a"]})


@pytest.mark.parametrize("claim", ["", "Upper", "a b", "../../secret", "a\n", "x" * 254, "-a"])
def test_a_claim_must_have_a_kubernetes_name(claim: str):
    text = refusal(BIOS, request={"claims": ["good.name", claim]})

    assert "manifest.claims[1]" in text
    assert text.isprintable()


@pytest.mark.parametrize("uuid", [None, "", "-" * 36, "6000C29e", "naa.6000c29e4f6a1b2c3d4e5f60718293a4"])
def test_a_disk_without_a_usable_uuid_has_no_serial(uuid: str | None):
    manifest = manifest_of(BIOS, source={"disks": [disk(0, uuid), disk(1)]})

    assert "serial" not in domain(manifest)["devices"]["disks"][0]


def test_a_serial_fits_what_virtio_blk_can_carry():
    serials = [one["serial"] for one in domain(manifest_of(BIOS))["devices"]["disks"]]

    assert [len(serial) for serial in serials] == [20, 20]
    assert len(set(serials)) == 2


# --- names and networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", "namespace"])
@pytest.mark.parametrize("name", ["", "Web01", "web_01", "web.01", "-web", "web-", "x" * 64, "web\n"])
def test_a_name_that_kubernetes_would_refuse_is_refused_here(field: str, name: str):
    text = refusal(BIOS, request={field: name})

    assert f"manifest.{field}: " in text
    assert "lower case letters" in text
    assert text.isprintable()


def test_every_unmapped_network_is_named_at_once():
    text = refusal(EFI, request={"network_map": {"backup": "pod"}})

    assert "network 'prod', network 'unplugged'" in text
    assert "manifest.networkMap" in text


def test_a_second_nic_on_the_pod_network_is_refused():
    text = refusal(EFI, request={"network_map": {"prod": "pod", "backup": "pod", "unplugged": "a/b"}})

    assert "Network adapter 1, Network adapter 2" in text


@pytest.mark.parametrize("target", ["", "nad", "/nad", "ns/", "ns/a/b", "Ns/nad", "pods", "ns/nad\n"])
def test_a_network_goes_to_pod_or_to_a_namespaced_name(target: str):
    assert "manifest.networkMap" in refusal(BIOS, request={"network_map": {"VM Network": target}})


@pytest.mark.parametrize(
    "mac", ["", "01:00:5e:00:00:01", "00:50:56:8A:10:00", "00-50-56-8a-10-00", "00:50:56:8a:10"]
)
def test_a_nic_keeps_a_unicast_mac_or_there_is_no_manifest(mac: str):
    broken = BIOS.source.nics[0].model_copy(update={"mac": mac})

    assert "Network adapter 1 has MAC address" in refusal(BIOS, source={"nics": [broken]})


def test_a_vm_without_nics_stays_without():
    manifest = manifest_of(BIOS, source={"nics": []})

    assert domain(manifest)["devices"]["interfaces"] == []
    assert domain(manifest)["devices"]["autoattachPodInterface"] is False
    assert validate(manifest) == []


# --- hostile strings -------------------------------------------------------------------------------------


def test_an_identifier_that_is_no_label_is_left_out_and_a_name_is_escaped():
    metadata = manifest_of(BIOS, source={"moref": "vm 1; rm", "name": "a\x1b[2J\n\u202eb" + "x" * 999})[
        "metadata"
    ]

    assert "transferd.io/moref" not in metadata["labels"]
    assert metadata["annotations"]["transferd.io/source-name"].startswith(r"a\x1b[2J\n\u202eb")
    assert len(metadata["annotations"]["transferd.io/source-name"]) == 253


@pytest.mark.parametrize("name", ["y", "n", "on", "null", "1e3", "0x1f", "12", "1-1", "2001-01-01"])
def test_every_yaml_reader_takes_a_name_for_a_string(name: str):
    text = render(manifest_of(BIOS, request={"name": name}))

    assert re.search(rf"""^  name: ["']{name}["']$""", text, re.MULTILINE)


@given(cases(anything=False))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_of_an_inventory_or_a_guest_spoils_the_manifest(case: Case):
    manifest = build(case.source, case.result, case.request)

    assert validate(manifest) == []
    assert yaml.safe_load(render(manifest)) == manifest
    assert render(manifest).isascii()


@given(cases(anything=True))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_document_at_all_gives_a_valid_manifest_or_one_line(case: Case):
    manifest, refused = outcome(case)

    assert refused.isprintable()
    assert manifest is None or validate(manifest) == []


def outcome(case: Case) -> tuple[dict | None, str]:
    try:
        return build(case.source, case.result, case.request), ""
    except UsageError as error:
        return None, str(error)
