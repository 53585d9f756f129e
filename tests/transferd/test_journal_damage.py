"""Rows F54 and B35: whatever happens to a journal's file, it claims only what its writer recorded."""

import os
import random
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journals import BEGUN, COUNT, HEADER, SIZE, Whole, framed, held, name_of, read, written
from tests.torture.seed import TODAY
from transferd.errors import UsageError
from transferd.journal import Journal
from transferd.plan import BLOCK
from transferd.replay import BLOCK_ENTRY, MAGIC, MAX_RECORD, RUN_ENTRY, Header, Trust
from transferd.units import GiB, MiB

FUZZED = 5000
MEMORY = 256 * MiB  # more than any honest journal needs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.journal"


@pytest.fixture
def whole(path: Path) -> Whole:
    return written(path)


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
    ids=["later version", "a program", "json", "zeros", "no header", "null", "half a header", "deep",
         "no text", "other block size", "negative size", "size no integer", "size of no disk",
         "size of 10000 digits"],
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
        "import sys; from transferd.replay import replay\n"
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
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY, 2 * MEMORY)),
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
        begun = dice.choice([whole.content, grown(dice), MAGIC + dice.randbytes(300)])
        content = mutated(begun, dice)
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
