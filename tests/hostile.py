"""Migrations of VMs and guests whose names were chosen by an enemy, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.golden.cases import Case, disk, nic, source_vm
from transferd.model import BlockBus, Caps, ConversionResult, Firmware, Guest, ManifestRequest, NicModel

HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "",
            "vm-1",
            "<script>alert(1)</script>",
            "$(reboot)",
            "{{ .Values }}",
            "a: b\n- c",
            "*alias",
            "../../etc/passwd",
            "\x1b]0;title\x07",
            "422d6f0a-5b1c-4d2e-8f3a-9b8c7d6e5f4a",
            "00:50:56:8a:10:00",
        ]
    ),
)


UUIDS = st.uuids().map(str)
MACS = st.binary(min_size=5, max_size=5).map(lambda octets: f"02:{octets.hex(':')}")
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@st.composite
def cases(draw: st.DrawFn, *, anything: bool) -> Case:
    """A VM whose texts are hostile; with `anything`, so are its identities and the request."""
    wild = HOSTILE if anything else st.nothing()
    disks = [
        disk(i, draw(st.none() | UUIDS | HOSTILE)).model_copy(update={"label": draw(HOSTILE)})
        for i in range(draw(st.integers(0 if anything else 1, 3)))
    ]
    nics = [
        nic(i, draw(HOSTILE), connected=draw(st.booleans())).model_copy(
            update={"mac": draw(MACS | wild), "label": draw(HOSTILE)}
        )
        for i in range(draw(st.integers(0, 3)))
    ]
    source = source_vm(
        draw(HOSTILE),
        disks,
        nics,
        moref=draw(HOSTILE),
        instance_uuid=draw(HOSTILE),
        bios_uuid=draw(UUIDS | wild),
        cpus=draw(st.integers() if anything else st.integers(1, 4096)),
        cores_per_socket=draw(st.integers()),
        memory=draw(st.integers() if anything else st.integers(1 << 20, 1 << 50)),
        secure_boot=draw(st.booleans()),
        tpm=draw(st.booleans()),
    )
    caps = Caps(
        block=draw(st.sampled_from(BlockBus)),
        net=draw(st.sampled_from(NicModel)),
        firmware=draw(st.sampled_from(Firmware)),
        rng=draw(st.booleans()),
        balloon=draw(st.booleans()),
        rtc=draw(st.sampled_from(["utc", "localtime"])),
        boot_disk=draw(st.integers() if anything else st.integers(0, len(disks) - 1)),
    )
    guest = Guest(found=True, distro=draw(st.none() | HOSTILE), product=draw(st.none() | HOSTILE))
    request = ManifestRequest(
        name=draw(NAMES | wild),
        namespace=draw(NAMES | wild),
        network_map={one.network: draw(st.sampled_from(["ns/a", "ns/b.c"]) | wild) for one in nics},
        claims=[f"claim-{i}" for i in range(len(disks))] if not anything else draw(st.lists(NAMES | wild)),
    )
    return Case(source, ConversionResult(outcome="ok", guest=guest, caps=caps), request)
