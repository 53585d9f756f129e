"""Options of a copy: each is checked before anything is opened, and its error names the option."""

from pathlib import Path

import pytest

from transferd import options
from transferd.errors import UsageError
from transferd.limits import Limits
from transferd.units import KiB, MiB

DEFAULTS = {
    "verify": "target",
    "journal": None,
    "state": None,
    "resume": True,
    "request_size": "1MiB",
    "queue_depth": None,
    "connections": None,
    "bandwidth": None,
    "patience": "60s",
}


def chosen(**given) -> options.CopyOptions:
    return options.copying(**{**DEFAULTS, **given})


def test_the_defaults_of_the_command_line_are_those_of_the_engine():
    assert chosen().means.limits == Limits()
    assert chosen().proof.target
    assert not chosen().from_scratch


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"request_size": "64KiB"}, {"request_size": 64 * KiB}),
        ({"request_size": "4MiB"}, {"request_size": 4 * MiB}),
        ({"request_size": "4608"}, {"request_size": 4608}),
        ({"queue_depth": 7}, {"depth": 7}),
        ({"connections": 1}, {"connections": 1}),
        ({"patience": "1s"}, {"patience": 1.0}),
        ({"patience": "1h"}, {"patience": 3600.0}),
    ],
)
def test_what_is_chosen_reaches_the_engine(given, expected):
    limits = chosen(**given).means.limits

    assert {name: getattr(limits, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("verify", "target", "share"),
    [
        ("target", True, 0.0),
        ("none", False, 0.0),
        ("full", True, 1.0),
        ("sample:5", True, 0.05),
        ("sample:0.125", True, 0.00125),
        ("sample:100", True, 1.0),
        ("sample:5%", True, 0.05),
    ],
)
def test_how_to_prove_the_copy(verify, target, share):
    proof = chosen(verify=verify).proof

    assert (proof.target, proof.source_share, proof.name) == (target, pytest.approx(share), verify)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"request_size": "33MiB"}, "--request-size 33MiB.*NBD itself allows 32 MiB"),
        ({"request_size": "5000"}, "--request-size 5000"),
        ({"request_size": "513"}, "--request-size 513"),
        ({"request_size": "0"}, "--request-size 0"),
        ({"request_size": "1 parsec"}, "parsec"),
        ({"patience": "5"}, "90s"),
        ({"patience": "inf"}, "inf"),
        ({"patience": "-3s"}, "-3s"),
        ({"patience": "1000000000000s"}, "--patience"),
        ({"patience": "999ms"}, "--patience"),
        ({"patience": "9" * 400 + "s"}, "--patience"),
        ({"verify": "sample"}, "--verify sample"),
        ({"verify": "sample:0"}, "--verify sample:0"),
        ({"verify": "sample:101"}, "--verify sample:101"),
        ({"verify": "sample:-5"}, "--verify"),
        ({"verify": "sample:nan"}, "--verify"),
        ({"verify": "TARGET"}, "--verify TARGET"),
        ({"bandwidth": "1KiB"}, "bandwidth 1KiB"),
        ({"bandwidth": "@/no/such/file"}, "--bandwidth"),
        ({"state": Path("/no/such/folder")}, "--state /no/such/folder"),
        ({"journal": Path("a"), "state": Path()}, "--journal and --state"),
    ],
    ids=lambda value: (
        None if isinstance(value, str) else " ".join(f"{k}={str(v)[:20]}" for k, v in value.items())
    ),
)
def test_b04_b06_what_cannot_be_meant_is_refused_by_name(given, words):
    with pytest.raises(UsageError, match=words):
        chosen(**given)


@pytest.mark.parametrize("option", ["request_size", "bandwidth"])
def test_b03_a_size_of_400_digits_is_a_usage_error_like_any_other(option):
    with pytest.raises(UsageError):
        chosen(**{option: "9" * 400})


def test_the_journal_lies_beside_a_file_unless_told_otherwise(tmp_path: Path):
    target = tmp_path / "disk.img"

    assert chosen().journal_for(target) == tmp_path / "disk.img.journal"
    assert chosen(journal=Path("other")).journal_for(target) == Path("other")
    assert chosen(state=tmp_path).journal_for(target) == tmp_path / "disk.journal"


def test_a_block_device_needs_a_place_for_its_journal(tmp_path: Path, loop_device):
    device = loop_device(MiB)

    with pytest.raises(UsageError, match="--journal FILE or --state DIR"):
        chosen().journal_for(device)
    assert chosen(state=tmp_path).journal_for(device) == tmp_path / "disk.journal"
