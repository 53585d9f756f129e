import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import digest_independent as independent
from tests.cli import refused, transferd
from transferd import digest
from transferd.digest import PAGE, Digests
from transferd.errors import SourceError
from transferd.plan import BLOCK, block_count
from transferd.units import MiB


@pytest.mark.parametrize("size", [1, 512, 4 * MiB - 1, 4 * MiB, 4 * MiB + 1, 9 * MiB + 512])
def test_the_disk_digest_is_the_digest_of_the_block_digests(tmp_path: Path, size):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    disk = tmp_path / "disk"
    disk.write_bytes(content)

    assert independent.of_bytes(content) == independent.of_file(disk) == digest.of_file(disk)


def test_only_the_first_size_bytes_are_covered(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"A" * 5 * MiB + b"B" * MiB)

    assert independent.of_bytes(b"A" * 5 * MiB) == digest.of_file(disk, 5 * MiB)


def test_a_file_that_is_too_short_is_an_error_with_its_end(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"A" * 1000)

    with pytest.raises(SourceError, match="has 1000 bytes, 2000 were asked for"):
        digest.of_file(disk, 2000)


@given(st.integers(1, 3 * MiB))
def test_zeros_have_the_same_digest_read_or_known(length):
    assert digest.of_block(bytes(length)) == digest.of_zeros(length)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=6),
    st.integers(1, 3),
    st.randoms(),
)
def test_blocks_may_come_in_any_order_and_zeros_need_not_be_read(blocks, tail, dice):
    """None is a block of zeros; the last block is short."""
    size = (len(blocks) - 1) * BLOCK + tail
    names = [bytes([0 if kind is None else kind + 1]) * BLOCK for kind in blocks]
    digests = Digests(size)
    for index in dice.sample(range(len(blocks)), len(blocks)):
        if blocks[index] is None:
            digests.set_zero(index)
        else:
            digests[index] = digest.of_block(names[index][: BLOCK if index < len(blocks) - 1 else tail])

    assert independent.of_bytes(b"".join(names)[:size]) == digests.disk()


def test_a_disk_with_a_missing_block_has_no_digest():
    digests = Digests(9 * MiB)
    digests[0] = digests[2] = bytes(32)

    with pytest.raises(LookupError, match="block 1"):
        digests.disk()


def test_a_forgotten_block_is_missing():
    digests = Digests(9 * MiB)
    digests.set_zero(0, 3)
    digests.forget(1)

    assert digests.known() == [0, 2]
    assert 1 not in digests
    with pytest.raises(LookupError, match="block 1"):
        digests.disk()


def test_the_last_block_of_zeros_is_as_short_as_the_disk():
    size = 2 * PAGE * BLOCK + 512
    digests = Digests(size)
    digests.set_zero(0, block_count(size))

    assert digests[block_count(size) - 1] == digest.of_zeros(512)


def test_an_empty_disk_of_62_tib_has_a_digest_in_little_memory():
    size = 62 << 40
    digests = Digests(size)
    digests.set_zero(0, block_count(size))

    assert digests.disk().startswith(digest.PREFIX)
    assert len(digests._pages) == 0


def test_zeros_that_were_read_cost_no_more_than_those_that_were_not():
    size = 62 << 40
    digests = Digests(size)
    digests.set_zero(0, block_count(size))
    for index in range(0, block_count(size), PAGE):
        digests[index] = digest.of_zeros(BLOCK)

    assert digests.are_zero(range(block_count(size)))
    assert len(digests._pages) == 0


def test_a_copy_does_not_follow_its_original():
    digests = Digests(3 * BLOCK)
    digests.set_zero(0, 2)
    digests[2] = bytes(range(32))
    copied = digests.copy()
    digests[1] = digests[2] = bytes(32)

    assert copied.is_zero(1)
    assert copied[2] == bytes(range(32))
    assert len(copied) == 3


def test_the_command_and_an_independent_script_agree(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"A" * 5 * MiB + bytes(512))
    script = [sys.executable, independent.__file__, str(disk)]
    said = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True).stdout

    assert said == transferd("digest", disk).stdout
    assert said.strip() == independent.of_bytes(disk.read_bytes())


def test_the_independent_script_stays_independent():
    text = Path(independent.__file__).read_text()

    assert len(text.splitlines()) <= 40
    assert "transferd" not in text


def test_an_empty_disk_is_refused(tmp_path: Path):
    (tmp_path / "empty").touch()

    refused(transferd("digest", tmp_path / "empty"), 2, "0 bytes")
