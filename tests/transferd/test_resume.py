"""What a restart believes of an earlier attempt, and what it reads again."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.copying import ALWAYS, copied, noise, on
from transferd import reader, resume
from transferd.backends.memory import LOSE, MemorySource, MemoryTarget
from transferd.digest import of_block
from transferd.errors import Error, IntegrityError, SourceError, TargetError, UsageError
from transferd.extents import Extent
from transferd.journal import Journal
from transferd.plan import BLOCK
from transferd.replay import Header, Trust
from transferd.resume import SPOT_CHECKS
from transferd.units import MiB

BLOCKS = 16
CONTENT = noise(BLOCKS)
GROUP = 2 * BLOCK  # bytes of one commit in these tests
SLOTS = 3
AT_STAKE = 2 * GROUP + SLOTS * BLOCK  # bytes: the group being written, the one being filled, and in flight


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.journal"


@pytest.fixture
def source() -> MemorySource:
    return MemorySource(CONTENT)


@pytest.fixture
def target() -> MemoryTarget:
    return MemoryTarget(len(CONTENT))


def run(source: MemorySource, target: MemoryTarget, path: Path, **more):
    return copied(source, target, path, commit_bytes=GROUP, slots=SLOTS, writers=1, **more)


def interrupted(source: MemorySource, target: MemoryTarget, path: Path, at: int = 10 * 4) -> None:
    """A first attempt that ends at read number `at`, of a MiB each."""
    source.faults.fault = on("read", range(at, 1 << 62), Error("power cut"))
    with pytest.raises(Error, match="power cut"):
        run(source, target, path)
    source.faults.fault = lambda _operation: None


def blocks_in(path: Path) -> dict[int, bytes]:
    with Journal(path) as journal:
        found = journal.read()
    assert found is not None
    assert found.trust is Trust.WHOLE
    return {index: found.digests[index] for index in found.digests.known()}


def on_target(target: MemoryTarget, index: int) -> bytes:
    return of_block(target.content[index * BLOCK : (index + 1) * BLOCK])


# --- a second attempt ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 9, 30, 45, 63])
def test_a_restart_reads_only_what_is_missing_and_a_few_blocks_to_be_sure(source, target, path, at):
    interrupted(source, target, path, at)
    recorded = blocks_in(path)
    done = run(source, target, path)

    assert source.content == target.content
    assert [*recorded] == [*done.resumed]
    checked = min(len(recorded), SPOT_CHECKS)
    assert done.stats.sample().read == len(CONTENT) + (checked - len(recorded)) * BLOCK
    assert at * MiB - len(recorded) * BLOCK <= AT_STAKE


def test_what_an_interrupted_attempt_recorded_is_on_the_target(source, target, path):
    interrupted(source, target, path)
    recorded = blocks_in(path)

    assert recorded
    assert all(on_target(target, index) == name for index, name in recorded.items())


def test_a_copy_may_be_interrupted_any_number_of_times(source, target, path):
    for attempt in range(1, 5):
        reads = source.faults.counts.get("read", 0)
        interrupted(source, target, path, reads + 30 + attempt)
    run(source, target, path)

    assert source.content == target.content


def test_f31_what_was_durable_before_the_target_was_full_need_not_be_copied_again(source, target, path):
    full = TargetError("No space left on device", operation="write")
    target.faults.fault = on("write", range(10, 1 << 62), full)
    with pytest.raises(TargetError, match="No space left"):
        run(source, target, path)
    recorded = blocks_in(path)
    target.faults.fault = lambda _operation: None
    done = run(source, target, path)

    assert 8 <= len(recorded) <= 10
    assert source.content == target.content
    assert [*done.resumed] == [*recorded]


def test_f47_what_was_received_before_it_was_told_to_stop_is_kept(source, target, path):
    source.faults.fault = on("read", ALWAYS, lambda _operation: time.sleep(0.05))
    with pytest.raises(TimeoutError):
        run(source, target, path, stop_after=2.0)
    received = source.faults.counts["read"] * MiB // BLOCK
    recorded = blocks_in(path)
    source.faults.fault = lambda _operation: None
    done = run(source, target, path)

    assert received - SLOTS <= len(recorded) < BLOCKS
    assert source.content == target.content
    assert [*done.resumed] == [*recorded]


@pytest.mark.parametrize("failing", [0, 1, 3])
def test_f33_nothing_of_a_group_whose_flush_failed_is_recorded(source, target, path, failing):
    target.faults.fault = on("sync", {failing}, TargetError("Input/output error", operation="flush"))
    with pytest.raises(TargetError, match="Input/output error"):
        run(source, target, path)
    recorded = blocks_in(path)
    target.faults.fault = lambda _operation: None
    run(source, target, path)

    assert len(recorded) == failing * GROUP // BLOCK
    assert source.content == target.content


def test_f41_only_what_a_flush_made_durable_is_recorded(source, path):
    """The target forgets at the power cut what was written since its last flush: the worst it may do."""
    durable = bytearray(len(CONTENT))

    def fault(operation) -> None:
        if operation.kind == "sync":
            durable[:] = target.content

    target = MemoryTarget(len(CONTENT), fault=fault)
    interrupted(source, target, path)
    target.content[:] = durable
    recorded = blocks_in(path)

    assert all(on_target(target, index) == name for index, name in recorded.items())
    run(source, target, path)
    assert source.content == target.content


def test_f39_a_recorded_block_that_was_damaged_meanwhile_is_healed(source, target, path):
    interrupted(source, target, path)
    damaged = [*blocks_in(path)][2]
    target.content[damaged * BLOCK + 77] ^= 1
    done = run(source, target, path)

    assert source.content == target.content
    assert done.stats.sample().healed == 1


# --- what must not be believed ---------------------------------------------------------------------------


def test_a_source_that_changed_between_two_attempts_is_refused(source, target, path):
    interrupted(source, target, path)
    for index in range(BLOCKS):
        source.content[index * BLOCK] ^= 1
    with pytest.raises(UsageError, match="source has changed") as raised:
        run(source, target, path)

    assert "--fresh" in str(raised.value)
    run(source, target, path, from_scratch=True)
    assert source.content == target.content


def test_a_finished_copy_is_brought_up_to_date_and_only_differences_are_written(source, target, path):
    run(source, target, path)
    source.content[5 * BLOCK] ^= 1
    done = run(source, target, path)

    assert source.content == target.content
    assert done.stats.sample().written == BLOCK
    assert len(done.resumed) == 0


def test_a_source_that_promises_nothing_is_read_whole(source, target, path):
    interrupted(source, target, path)
    source.point = None
    for index in range(BLOCKS):
        source.content[index * BLOCK] ^= 1
    done = run(source, target, path)

    assert source.content == target.content
    assert done.stats.sample().read == len(CONTENT)


@pytest.mark.parametrize("verify", ["target", "none"])
def test_f54_with_a_damaged_journal_every_block_is_looked_at_again(source, target, path, verify):
    interrupted(source, target, path)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    target.content[:BLOCK] = b"\xa5" * BLOCK
    done = run(source, target, path, verify=verify)

    assert source.content == target.content
    assert len(done.resumed) == 0
    assert done.stats.sample().read == len(CONTENT)


@pytest.mark.parametrize("verify", ["target", "none"])
def test_f54_a_target_made_anew_is_not_taken_for_the_one_that_was_recorded(source, target, path, verify):
    """A file system gives the inode number of a deleted file to the next one: the identity is the same."""
    interrupted(source, target, path)
    target.content[:] = bytes(len(CONTENT))
    target.fresh = True
    run(source, target, path, verify=verify)

    assert source.content == target.content


def test_f54_without_its_journal_a_target_is_not_trusted(source, target, path):
    interrupted(source, target, path)
    path.unlink()
    target.content[:] = b"\xa5" * len(CONTENT)
    target.fresh = False
    run(source, target, path)

    assert source.content == target.content


@pytest.mark.parametrize("verify", ["target", "none"])
def test_f04_after_a_lie_nothing_that_was_believed_of_the_extents_is_kept(path, verify):
    """Blocks that were recorded as zero because the extents said so were never read: they may be lies too."""
    content = bytearray(BLOCKS * BLOCK)
    content[3 * BLOCK + 5] = content[11 * BLOCK] = 1
    source = MemorySource(bytes(content), extents=[Extent(0, len(content), zero=True)])
    target = MemoryTarget(len(content))
    with Journal(path) as journal:
        journal.begin(Header(source.size, source.identity, target.identity, blank=True))
        journal.blocks({}, [(0, BLOCKS - 2)])
        journal.distrust()
    run(source, target, path, verify=verify)

    assert source.content == target.content


def test_f04_after_a_lie_the_same_command_ends_well(path):
    content = noise(8)
    source = MemorySource(content, extents=[Extent(0, len(content), zero=True)])
    target = MemoryTarget(len(content))
    with pytest.raises(IntegrityError, match="holds data"):
        run(source, target, path)
    run(source, target, path)

    assert source.content == target.content


@pytest.mark.parametrize("verify", ["target", "none"])
def test_a_block_that_was_forgotten_is_not_taken_for_blank(path, verify):
    """Found damaged, then interrupted before it was healed: what lies there is anything but zeros."""
    source = MemorySource(noise(1)[: 2 * MiB] + bytes(2 * MiB))

    def misdirected(operation) -> object:
        if operation.kind != "write":
            return None
        if operation.number == 0:
            target.content[3 * MiB : 4 * MiB] = b"\xbd" * MiB
            return LOSE
        raise TargetError("power cut", operation="write")

    target = MemoryTarget(BLOCK, fault=misdirected)
    with pytest.raises(TargetError, match="power cut"):
        run(source, target, path)
    target.faults.fault = lambda _operation: None
    run(source, target, path, verify=verify)

    assert source.content == target.content


# --- the decision alone ----------------------------------------------------------------------------------


def begun(path: Path, source: MemorySource, target: dict, *, fresh: bool = False) -> resume.Start:
    with Journal(path) as journal:
        return resume.begin(journal, source, target, blank=True, from_scratch=fresh)


def written(path: Path, header: Header, then: Callable[[Journal], None] = lambda _journal: None) -> None:
    with Journal(path) as journal:
        journal.begin(header)
        then(journal)


DISK = {"kind": "file", "dev": 1, "inode": 2}


def test_without_a_journal_everything_is_to_be_done(source, path):
    start = begun(path, source, DISK)

    assert ([*start.done], start.refresh, start.fresh) == ([], False, None)
    assert blocks_in(path) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": BLOCK}, f"size was {BLOCK}"),
        ({"source": {"kind": "memory", "id": 0, "size": len(CONTENT)}}, "source id was 0"),
        ({"source": {}}, "source id was None"),
        ({"target": {**DISK, "inode": 3}}, "target inode was 3, is 2"),
        ({"target": {"kind": "device", "device": 1}}, "target kind was 'device', is 'file'"),
    ],
)
def test_f54_a_journal_about_another_copy_is_refused_and_says_what_differs(source, path, change, words):
    same = {"size": source.size, "source": source.identity, "target": DISK, "blank": True}
    written(path, Header(**{**same, **change}))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=words) as raised:
        begun(path, source, DISK)

    assert raised.value.exit_code == 2
    assert "--fresh" in str(raised.value)
    assert path.read_bytes() == before


def test_fresh_begins_anew_whatever_the_journal_says(source, path):
    written(path, Header(BLOCK, {"another": "disk"}, DISK, blank=True))
    start = begun(path, source, DISK, fresh=True)

    assert ([*start.done], start.refresh) == ([], False)
    assert blocks_in(path) == {}


def test_b35_fresh_does_not_destroy_a_file_that_is_no_journal(source, path):
    path.write_text("letters")
    with pytest.raises(UsageError, match="not overwritten"):
        begun(path, source, DISK, fresh=True)

    assert path.read_text() == "letters"


def test_b35_a_journal_of_a_later_version_is_refused_and_kept(source, path):
    path.write_bytes(b"transferd journal 2\nwhatever it holds")
    for fresh in (False, True):
        with pytest.raises(UsageError):
            begun(path, source, DISK, fresh=fresh)

    assert path.read_bytes() == b"transferd journal 2\nwhatever it holds"


def test_the_lie_of_the_extents_is_remembered_through_a_finished_copy(source, path):
    header = Header(source.size, source.identity, DISK, blank=True)
    written(path, header, lambda journal: (journal.distrust(), journal.seal("blake3-4m:00")))

    assert begun(path, source, DISK).distrusted
    assert begun(path, source, DISK).distrusted


def test_a_refusal_by_the_source_leaves_the_journal_fit_to_go_on(source, target, path, monkeypatch):
    monkeypatch.setattr(reader, "READ_DELAY", 0.01)
    source.faults.fault = on("read", ALWAYS, SourceError("no such sector", operation="read"))
    with pytest.raises(SourceError):
        run(source, target, path)
    source.faults.fault = lambda _operation: None
    run(source, target, path)

    assert source.content == target.content
