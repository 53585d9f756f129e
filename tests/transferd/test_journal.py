"""What a journal may claim, whatever happens to its file: only what its writer recorded."""

import os
import random
import resource
import stat
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.torture.seed import TODAY
from transferd import digest
from transferd.errors import TargetError, UsageError
from transferd.journal import (
    BLOCK_ENTRY,
    MAGIC,
    MAX_RECORD,
    RUN_ENTRY,
    Header,
    Journal,
    Replayed,
    Trust,
    replay,
)
from transferd.plan import BLOCK
from transferd.units import GiB, MiB

COUNT = 40  # blocks of the disk that these journals are about
SIZE = COUNT * BLOCK - 512
HEADER = Header(SIZE, {"kind": "memory", "id": 1}, {"kind": "file", "inode": 2}, blank=True)
FUZZED = 5000
MEMORY = 256 * MiB  # more than any honest journal needs

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.journal"


def read(content: bytes) -> Replayed | None:
    """Replay these bytes; an anonymous file has a descriptor, which BytesIO has not."""
    fd = os.memfd_create("journal")
    with os.fdopen(fd, "w+b") as file:
        file.write(content)
        file.seek(0)
        return replay(file)


def name_of(number: int) -> bytes:
    return digest.of_block(b"%d" % number)


def held(found: Replayed) -> dict[int, bytes]:
    return {index: found.digests[index] for index in found.digests.known()}


@dataclass
class Story:
    """The model: what a sequence of records means."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    sealed: bool = False
    distrusted: bool = False

    def told_by(self, found: Replayed) -> bool:
        return (self.blocks, self.sealed, self.distrusted) == (held(found), found.sealed, found.distrusted)


Step = Callable[[Journal, Story], None]


def recorded(blocks: dict[int, bytes], zeros: list[tuple[int, int]]) -> Step:
    def step(journal: Journal, story: Story) -> None:
        journal.blocks(blocks, zeros)
        story.blocks |= blocks
        story.blocks |= {
            index: zero_at(index) for first, count in zeros for index in range(first, first + count)
        }

    return step


def zero_at(index: int) -> bytes:
    return digest.of_zeros(min(BLOCK, SIZE - index * BLOCK))


def forgotten(indexes: list[int]) -> Step:
    def step(journal: Journal, story: Story) -> None:
        journal.forget(indexes)
        for index in indexes:
            story.blocks.pop(index, None)

    return step


def distrusted(journal: Journal, story: Story) -> None:
    journal.distrust()
    story.distrusted = True


def sealed(journal: Journal, story: Story) -> None:
    journal.seal("blake3-4m:00")
    story.sealed = True


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


@dataclass(frozen=True)
class Whole:
    """A journal with every kind of record. `ends`: where each write ended, and what held from there on."""

    content: bytes
    ends: list[tuple[int, dict[int, bytes]]]
    said: dict[int, set[bytes]]  # every digest that was ever recorded for a block


@pytest.fixture
def whole(path: Path) -> Whole:
    story, ends, said = Story(), [], {}
    steps: list[Step] = [
        recorded({0: name_of(1), 3: name_of(2)}, []),
        recorded({}, [(10, 5), (39, 1)]),
        distrusted,
        forgotten([3, 11]),
        sealed,
        forgotten([*range(COUNT)]),
        recorded({3: name_of(3)}, []),
        recorded({0: name_of(4), 1: name_of(5)}, []),
    ]
    with Journal(path) as journal:
        journal.begin(HEADER)
        ends.append((path.stat().st_size, {}))
        for step in steps:
            step(journal, story)
            ends.append((path.stat().st_size, dict(story.blocks)))
            for index, name in story.blocks.items():
                said.setdefault(index, set()).add(name)
    return Whole(path.read_bytes(), ends, said)


def test_f54_cut_off_anywhere_the_records_before_the_cut_hold(whole: Whole):
    for cut in range(len(whole.content)):
        found = read(whole.content[:cut])
        kept = [(end, blocks) for end, blocks in whole.ends if end <= cut]
        if not kept:
            assert found is None, f"cut at {cut}"
            continue
        assert found is not None, f"cut at {cut}"
        assert (found.end, held(found), found.trust) == (*kept[-1], Trust.WHOLE), f"cut at {cut}"


@pytest.mark.parametrize("zeros", [1, 7, 8, 9, 4096, MAX_RECORD + 4096])
def test_f54_zeros_behind_the_last_record_are_what_a_power_cut_leaves(whole: Whole, zeros):
    found = read(whole.content + bytes(zeros))

    assert found is not None
    assert (found.end, held(found), found.trust) == (*whole.ends[-1], Trust.WHOLE)


def test_f54_a_last_record_whose_bytes_never_arrived_is_dropped(whole: Whole):
    begin, (end, _) = whole.ends[-2][0], whole.ends[-1]
    found = read(whole.content[: begin + 8] + bytes(end - begin - 8))

    assert found is not None
    assert (found.end, held(found), found.trust) == (*whole.ends[-2], Trust.WHOLE)


def test_f54_a_flipped_bit_anywhere_never_makes_the_journal_claim_what_was_not_recorded(whole: Whole):
    outcomes = set()
    for bit in range(len(whole.content) * 8):
        damaged = bytearray(whole.content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = read(bytes(damaged))
        except ValueError:
            outcomes.add("refused")
            continue
        if found is None:
            outcomes.add("as if never begun")
            continue
        assert all(name in whole.said[index] for index, name in held(found).items()), f"bit {bit}"
        assert found.header == HEADER, f"bit {bit}"
        assert found.trust is Trust.DAMAGED or found.end < len(whole.content), f"bit {bit}"
        outcomes.add(found.trust)

    assert outcomes >= {"refused", Trust.DAMAGED, Trust.WHOLE}


def framed(kind: bytes, payload: bytes) -> bytes:
    """A record with a right checksum, whatever it holds: the format, written again."""
    body = kind + payload
    return struct.pack("<II", len(body), zlib.crc32(body)) + body


BEGUN = MAGIC + framed(b"H", HEADER.as_json())


@pytest.mark.parametrize(
    "record",
    [
        framed(b"B", BLOCK_ENTRY.pack(COUNT, bytes(32))),
        framed(b"B", BLOCK_ENTRY.pack((1 << 64) - 1, bytes(32))),
        framed(b"B", BLOCK_ENTRY.pack(0, bytes(32))[:-1]),
        framed(b"Z", RUN_ENTRY.pack(COUNT - 1, 2)),
        framed(b"Z", RUN_ENTRY.pack(1, (1 << 64) - 1)),
        framed(b"F", RUN_ENTRY.pack((1 << 64) - 1, 1)),
        framed(b"?", b"from a later version"),
        framed(b"H", HEADER.as_json()),
    ],
    ids=["block behind the disk", "block far behind the disk", "half an entry", "zeros behind the disk",
         "zeros without end", "forgotten behind the disk", "unknown kind", "second header"],
)  # fmt: skip
def test_f54_a_record_that_this_journal_cannot_hold_damages_it(record):
    good = framed(b"B", BLOCK_ENTRY.pack(5, name_of(5)))
    found = read(BEGUN + good + record + framed(b"S", b"{}"))

    assert found is not None
    assert found.trust is Trust.DAMAGED
    assert held(found) == {5: name_of(5)}
    assert not found.sealed


def test_f54_a_length_beyond_every_record_is_damage_and_is_not_read():
    found = read(BEGUN + struct.pack("<II", (1 << 32) - 1, 0) + bytes(100))

    assert found is not None
    assert found.trust is Trust.DAMAGED


@pytest.mark.parametrize(
    "content",
    [
        b"transferd journal 2\n" + framed(b"H", HEADER.as_json()),
        b"MZ\x90\0" + bytes(100),
        b"{}\n",
        b"\0" * 4096,
        MAGIC + framed(b"B", BLOCK_ENTRY.pack(0, bytes(32))),
        MAGIC + framed(b"H", b"null") + framed(b"S", b"{}"),
        MAGIC + framed(b"H", b'{"size": 1}'),
        MAGIC + framed(b"H", b"[" * 100_000),
        MAGIC + framed(b"H", b"\xff\xfe"),
        MAGIC + framed(b"H", HEADER.as_json().replace(b'"block": 4194304', b'"block": 65536')),
        MAGIC + framed(b"H", HEADER.as_json().replace(str(SIZE).encode(), b"-1")),
        MAGIC + framed(b"H", HEADER.as_json().replace(str(SIZE).encode(), b"1e9")),
        MAGIC + framed(b"H", HEADER.as_json().replace(str(SIZE).encode(), b"9" * 30)),
        MAGIC + framed(b"H", HEADER.as_json().replace(str(SIZE).encode(), b"9" * 10_000)),
    ],
    ids=["later version", "a program", "json", "zeros", "no header", "null", "half a header", "deep", "no text",
         "other block size", "negative size", "size no integer", "size of no disk", "size of 10000 digits"],
)  # fmt: skip
def test_f54_b35_what_is_no_journal_is_refused_and_left_as_it_is(path: Path, content):
    path.write_bytes(content)
    with Journal(path) as journal, pytest.raises(UsageError, match="not a journal that can be read"):
        journal.read()

    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", MAGIC[:5], MAGIC, BEGUN[:-1]])
def test_b35_a_journal_that_was_never_begun_is_an_empty_one(path: Path, content):
    path.write_bytes(content)
    with Journal(path) as journal:
        assert journal.read() is None
        journal.begin(HEADER)

        assert journal.read() is not None


def test_b35_a_gib_of_zeros_is_refused_without_reading_it(path: Path):
    path.touch()
    os.truncate(path, GiB)
    with Journal(path) as journal, pytest.raises(UsageError, match="not a journal"):
        journal.read()


def test_b35_fresh_does_not_overwrite_what_is_no_journal(path: Path):
    path.write_bytes(b"letters to my daughter")
    with Journal(path) as journal, pytest.raises(UsageError, match="not overwritten"):
        journal.require_own()


def test_f54_a_header_cannot_make_a_reader_take_much_memory(path: Path):
    """A disk of 2^55 bytes would have 2^33 blocks: a process with little memory must refuse, not die."""
    path.write_bytes(MAGIC + framed(b"H", HEADER.as_json().replace(str(SIZE).encode(), b"%d" % (1 << 55))))
    script = (
        "import sys; from transferd.journal import replay\n"
        "try: found = replay(open(sys.argv[1], 'rb'))\n"
        "except ValueError: found = None\n"
        "print('refused' if found is None else found.header.size)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY, 2 * MEMORY)),  # noqa: PLW1509
    )

    assert (run.stdout.strip(), run.stderr) == ("refused", "")


def grown(dice: random.Random) -> bytes:
    """Right frames around anything: records as a writer gone mad would leave them."""

    def number() -> int:
        return dice.choice([dice.randrange(COUNT), COUNT, dice.getrandbits(64)])

    made = [BEGUN]
    for _ in range(dice.randrange(8)):
        match dice.choice(b"BZFDSH?"):
            case 0x42:
                payload = b"".join(
                    BLOCK_ENTRY.pack(number(), dice.randbytes(32)) for _ in range(dice.randrange(4))
                )
            case 0x5A | 0x46:
                payload = b"".join(RUN_ENTRY.pack(number(), number()) for _ in range(dice.randrange(4)))
            case _:
                payload = dice.randbytes(dice.randrange(64))
        made.append(framed(bytes([dice.choice(b"BZFDSH?")]), payload))
    return b"".join(made)


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or put in."""
    found = bytearray(content)
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(found) + 1)
        length = dice.choice([1, 4, 8, 40, 500])
        match dice.randrange(4):
            case 0:
                found[at : at + length] = dice.randbytes(length)
            case 1:
                del found[at : at + length]
            case 2:
                found[at:at] = found[at : at + length]
            case _:
                found[at:at] = dice.randbytes(length)
    return bytes(found)


def test_f54_no_bytes_make_replay_do_other_than_answer_or_refuse(whole: Whole):
    for seed in range(TODAY, TODAY + FUZZED):
        dice = random.Random(seed)
        begin = dice.choice(
            [lambda: whole.content, lambda: grown(dice), lambda: MAGIC + dice.randbytes(300)]
        )()
        content = mutated(begin, dice)
        try:
            found = read(content)
        except ValueError:
            continue
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        assert found is None or 0 < found.end <= len(content), f"seed {seed}"


def test_many_records_of_one_run_are_read_in_one_pass():
    """Every record forgets and marks the whole of a large disk: the work must follow the file's length."""
    size = 62 << 40
    header = Header(size, {}, {}, blank=True)
    run = RUN_ENTRY.pack(0, size // BLOCK)
    content = MAGIC + framed(b"H", header.as_json()) + framed(b"Z", run) * 20
    found = read(content)

    assert found is not None
    assert len(found.digests) == size // BLOCK
    assert 0 in found.digests


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
