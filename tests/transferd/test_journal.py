"""The journal's file: what is written is what is read, by one process at a time."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.journals import COUNT, HEADER, Story, distrusted, forgotten, name_of, recorded, sealed
from transferd.errors import TargetError, UsageError
from transferd.journal import Journal
from transferd.replay import Trust

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.journal"


NUMBERS = st.integers(0, COUNT - 1)
RUNS = st.tuples(NUMBERS, st.integers(1, COUNT)).map(lambda run: (run[0], min(run[1], COUNT - run[0])))
BLOCKS = st.dictionaries(NUMBERS, st.integers(0, 9).map(name_of), max_size=5)
STEPS = st.one_of(
    st.builds(recorded, BLOCKS, st.lists(RUNS, max_size=3)),
    st.builds(forgotten, st.lists(NUMBERS, min_size=1, max_size=3)),
    st.sampled_from([distrusted, sealed]),
)


@in_one_folder
@given(st.lists(STEPS, max_size=10))
def test_a_journal_says_what_was_written(path: Path, steps):
    story = Story()
    with Journal(path) as journal:
        journal.begin(HEADER)
        for step in steps:
            step(journal, story)
        found = journal.read()

    assert found is not None
    assert found.header == HEADER
    assert story.told_by(found)
    assert found.trust is Trust.WHOLE
    assert found.end == path.stat().st_size


@in_one_folder
@given(st.lists(STEPS, max_size=5), st.lists(STEPS, max_size=5), st.binary(max_size=7))
def test_a_restart_appends_behind_what_it_believed(path: Path, before, after, torn):
    story = Story()
    with Journal(path) as journal:
        journal.begin(HEADER)
        for step in before:
            step(journal, story)
    with path.open("ab") as file:
        file.write(torn)
    with Journal(path) as journal:
        journal.read()
        for step in after:
            step(journal, story)
        found = journal.read()

    assert found is not None
    assert story.told_by(found)


def test_two_copies_cannot_use_one_journal(path: Path):
    with Journal(path), pytest.raises(TargetError, match="another copy"), Journal(path):
        pass


def test_a_journal_is_for_its_owner_only(path: Path):
    with Journal(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def made_link(path: Path) -> None:
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("make", "words"),
    [(made_link, "symbolic link"), (Path.mkdir, "folder"), (os.mkfifo, "no regular file")],
    ids=["link", "folder", "fifo"],
)
def test_b31_a_journal_is_a_regular_file(path: Path, make, words):
    make(path)
    with pytest.raises(UsageError, match=words), Journal(path):
        pass
