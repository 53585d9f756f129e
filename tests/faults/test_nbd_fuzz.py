"""No NBD server, however it lies, makes a copy that is wrong, endless or a traceback."""

from pathlib import Path

import pytest

from tests.faults import liar, lies
from tests.faults.liar import HANDSHAKE_LIES, Liar
from tests.faults.nbd_fuzz import by_libnbd, copy_from_liar, disk, judge, sweep

EVERY_LIE = {lie.__name__ for lie in (*lies.ANY, *lies.STRUCTURED, *lies.READS, *lies.EXTENTS)}


def test_a_seed_gives_the_same_lies_again(tmp_path: Path):
    (tmp_path / "again").mkdir()
    for seed in range(12):
        first, again = (judge(by_libnbd, seed, folder) for folder in (tmp_path, tmp_path / "again"))
        assert (first.ending, first.told) == (again.ending, again.told)


def test_the_seeds_tell_every_lie_and_some_tell_none(tmp_path: Path):
    told = [judge(by_libnbd, seed, tmp_path).told for seed in range(400)]

    assert {words.split(" at ")[0] for lies_ in told for words in lies_} == EVERY_LIE | {*HANDSHAKE_LIES}
    assert [] in told


def test_an_honest_character_gives_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(liar.Liar, "_willing", lambda _: False)
    with Liar(tmp_path, 1, disk(1)) as honest:
        assert by_libnbd(honest.uri) == disk(1)


def test_a_reader_that_believes_a_lie_is_found_out(tmp_path: Path):
    verdicts = [judge(lambda _: disk(0), seed, tmp_path) for seed in range(2)]

    assert [verdict.complaint for verdict in verdicts] == [None, "wrong success"]


@pytest.mark.parametrize("reader", ["by_libnbd", "by_session"])
def test_no_liar_gives_a_reader_wrong_bytes(reader: str):
    verdicts = list(sweep(f"tests.faults.nbd_fuzz:{reader}", range(60)))

    assert [verdict.seed for verdict in verdicts] == [*range(60)]
    assert [verdict for verdict in verdicts if verdict.complaint] == []


@pytest.mark.parametrize("seed", range(8))
def test_a_copy_from_a_liar_is_right_or_refused(seed: int, tmp_path: Path):
    assert copy_from_liar(seed, tmp_path).complaint is None
