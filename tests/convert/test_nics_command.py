"""`transferd-convert nics`: a folder and a list of NICs in, names and evidence out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.convert.trees import IFUPDOWN, KEYFILES, NETPLAN, SCRIPTS, A, B, keyfile, written


def nics(root, document, *more) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "convert", "nics", "--root", str(root), "--nics", str(document), *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def asked(tmp_path):
    def ask(files, *listed):
        root, document = tmp_path / "guest", tmp_path / "nics.json"
        root.mkdir()
        document.write_text(json.dumps(listed))
        return nics(written(root, files), document)

    return ask


def test_names_evidence_and_what_is_unresolved_are_one_document(asked):
    files = {
        f"{KEYFILES}a.nmconnection": keyfile("lan0", "[ethernet]", f"mac-address={A.upper()}"),
        IFUPDOWN: "iface eth0 inet dhcp\niface eth1 inet dhcp\n",
    }
    done = asked(files, {"mac": A, "ips": ["192.0.2.7"], "slot": 192}, {"mac": B, "ips": [], "slot": None})

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "names": {A: "lan0"},
        "evidence": {
            A: [f"{KEYFILES}a.nmconnection configures lan0 with this MAC"],
            B: ["configured physical interfaces: eth0, eth1, lan0"],
        },
        "unresolved": [B],
    }


def test_what_was_not_read_is_told_and_escaped(asked):
    name = "ifcfg-\x1b[31m"
    done = asked(
        {f"{SCRIPTS}\x1b[31m": b"\0", f"{SCRIPTS}ens192": "DEVICE=ens192\n"}, {"mac": A, "slot": 192}
    )

    assert json.loads(done.stdout)["names"] == {A: "ens192"}
    assert done.stderr.isprintable() is False
    assert name not in done.stderr
    assert "warning: /etc/sysconfig/network-scripts/ifcfg-\\x1b[31m was not read: not a text" in done.stderr


def test_a_file_whose_name_is_no_text_is_told_in_valid_json(asked, tmp_path):
    place = tmp_path / "guest/etc/netctl"
    done_before = asked({NETPLAN: "network: {}\n"}, {"mac": A})
    assert done_before.returncode == 0
    place.mkdir()
    (place / "a\udcff").write_text("Interface=ens192\n")

    done = nics(tmp_path / "guest", tmp_path / "nics.json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["names"] == {A: "ens192"}


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        ([{"mac": "00:50:56:00:00:0G"}], "0.mac"),
        ([{"mac": A.replace(":", "-")}], "0.mac"),
        ([{"mac": A + "\n"}], "0.mac"),
        ([{"mac": A, "slots": 1}], "0.slots"),
        ([{"mac": A, "slot": -1}], "0.slot"),
        ([{"mac": A}, {"mac": A}], "two NICs have the same MAC"),
        ([{"mac": f"00:50:56:00:00:{at:02x}"} for at in range(65)], "at most 64"),
        ({"mac": A}, "valid array"),
    ],
    ids=["no hex", "dashes", "a line end", "unknown field", "negative slot", "twice", "too many", "no list"],
)
def test_a_list_that_cannot_be_meant_is_one_line(tmp_path, listed, problem):
    document = tmp_path / "nics.json"
    document.write_text(json.dumps(listed))
    done = nics(tmp_path, document)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert problem in done.stderr
    assert str(document) in done.stderr


def test_a_missing_folder_is_one_line(tmp_path):
    document = tmp_path / "nics.json"
    document.write_text("[]")
    done = nics(tmp_path / "none", document)

    assert done.returncode == 2
    assert "none: No such file or directory; give the folder" in done.stderr


def test_no_nics_have_no_names(tmp_path):
    document = tmp_path / "nics.json"
    document.write_text("[]")

    assert json.loads(nics(tmp_path, document).stdout) == {"names": {}, "evidence": {}, "unresolved": []}
