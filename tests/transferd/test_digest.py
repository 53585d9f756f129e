from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from tests.cli import refused, transferd
from transferd import digest
from transferd.errors import SourceError
from transferd.units import MiB


def by_hand(content: bytes) -> str:
    """The definition, written again without transferd's code."""
    names = b"".join(blake3(content[at : at + 4 * MiB]).digest() for at in range(0, len(content), 4 * MiB))
    return "blake3-4m:" + blake3(names).hexdigest()


@pytest.mark.parametrize("size", [1, 512, 4 * MiB - 1, 4 * MiB, 4 * MiB + 1, 9 * MiB + 512])
def test_the_disk_digest_is_the_digest_of_the_block_digests(tmp_path: Path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    disk = tmp_path / "disk"
    disk.write_bytes(content[:size])

    assert by_hand(content[:size]) == digest.of_file(disk)


def test_only_the_first_size_bytes_are_covered(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"A" * 5 * MiB + b"B" * MiB)

    assert by_hand(b"A" * 5 * MiB) == digest.of_file(disk, 5 * MiB)


def test_a_file_that_is_too_short_is_an_error_with_its_end(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"A" * 1000)

    with pytest.raises(SourceError, match="ends at 1000"):
        digest.of_file(disk, 2000)


@given(st.integers(1, 3 * MiB))
def test_zeros_have_the_same_digest_read_or_known(length):
    assert digest.of_block(bytes(length)) == digest.of_zeros(length)


def test_a_disk_with_a_missing_block_has_no_digest():
    digests = digest.Digests(9 * MiB)
    digests[0] = digests[2] = bytes(32)

    with pytest.raises(LookupError, match="block 1"):
        digests.disk()


def test_the_command_prints_the_digest(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"A" * 5 * MiB)

    assert by_hand(b"A" * 5 * MiB) == transferd("digest", disk).stdout.strip()


def test_an_empty_disk_is_refused(tmp_path: Path):
    (tmp_path / "empty").touch()

    refused(transferd("digest", tmp_path / "empty"), 2, "0 bytes")
