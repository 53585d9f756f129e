import pytest

from transferd import units
from transferd.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("512", 512), ("4K", 4096), ("1MiB", 1 << 20), ("1.5 GiB", 3 << 29), ("2MB", 2_000_000)],
)
def test_sizes_are_read_with_binary_and_decimal_units(text, expected):
    assert expected == units.size(text)


@pytest.mark.parametrize("text", ["", "MiB", "1 parsec", "-1", "1e3", "0x10", "\uff11"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="64MiB"):
        units.size(text)


@pytest.mark.parametrize(("text", "expected"), [("250ms", 0.25), ("90s", 90), ("5m", 300), ("2h", 7200)])
def test_durations_are_seconds(text, expected):
    assert expected == units.duration(text)


def test_a_duration_without_unit_is_refused():
    with pytest.raises(UsageError, match="90s"):
        units.duration("5")


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5 TiB")]
)
def test_sizes_are_shown_with_three_digits(count, expected):
    assert expected == units.human(count)
