"""The archive that we append is one that cpio(1) and our own reader agree on."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert import cpio
from convert.unpacker import contents

ENTRIES = [
    cpio.folder("usr"),
    cpio.folder("usr/lib"),
    cpio.file("usr/lib/odd-length", b"12345"),
    cpio.file("usr/lib/empty", b""),
    cpio.file("usr/lib/program", b"\x7fELF", mode=0o755),
]


def read_back(archive: bytes):
    return list(contents(io.BytesIO(archive)))


def test_a_segment_fills_whole_sectors():
    assert len(cpio.segment(ENTRIES)) % 512 == 0


def test_the_same_entries_give_the_same_bytes():
    assert cpio.segment(ENTRIES) == cpio.segment(ENTRIES)


def test_what_was_written_is_read_back():
    found = read_back(cpio.segment(ENTRIES))

    assert [(f.name, f.mode, f.size) for f in found] == [(e.name, e.mode, len(e.data)) for e in ENTRIES]


def test_cpio_extracts_what_was_written(tmp_path):
    if not shutil.which("cpio"):
        if "CI" in os.environ:
            pytest.fail("cpio is not installed")
        pytest.skip("cpio is not installed")
    subprocess.run(["cpio", "-idm", "--quiet"], input=cpio.segment(ENTRIES), cwd=tmp_path, check=True)

    assert (tmp_path / "usr/lib/odd-length").read_bytes() == b"12345"
    assert (tmp_path / "usr/lib/empty").read_bytes() == b""
    assert stat.S_IMODE((tmp_path / "usr/lib/program").stat().st_mode) == 0o755


@given(
    st.lists(
        st.tuples(st.text(alphabet="abc/é.", min_size=1, max_size=20), st.binary(max_size=600)), max_size=8
    )
)
def test_any_names_and_contents_survive_the_round_trip(pairs):
    entries = [cpio.file("x" + name, data) for name, data in pairs]

    assert [(f.name, f.size) for f in read_back(cpio.segment(entries))] == [
        (e.name, len(e.data)) for e in entries
    ]
