import pytest

from transferd import errors
from transferd.errors import Error, SourceError, TargetError, UsageError


def test_an_error_says_where_what_and_what_next_on_one_line():
    error = TargetError(
        "No space left", vm="web", disk="Hard disk 1", operation="write", offset=4096, remedy="grow it"
    )

    assert str(error) == "VM web: disk Hard disk 1: write at offset 4096: No space left; grow it"


def test_names_from_elsewhere_cannot_break_the_line():
    assert str(SourceError("gone", vm="a\nb\x1b[2J")) == "VM a\\nb\\x1b[2J: gone"


def test_a_caller_adds_the_names_it_knows_and_keeps_those_that_are_there():
    error = SourceError("gone", disk="sda").within(vm="web", disk="other")

    assert str(error) == "VM web: disk sda: gone"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 2),
        ("AuthenticationError", 3),
        ("SourceError", 4),
        ("TargetError", 5),
        ("IntegrityError", 6),
        ("ConversionError", 7),
        ("Cancelled", 8),
        ("Fenced", 9),
        ("RetriesExhausted", 10),
        ("Error", 70),
    ],
)
def test_exit_codes_are_the_documented_ones(name, code):
    assert code == getattr(errors, name).exit_code
    assert issubclass(getattr(errors, name), Error)


def test_the_document_carries_every_field():
    document = UsageError("no", vm="web", remedy="do").as_document()

    assert document == {
        "kind": "UsageError",
        "exit_code": 2,
        "message": "VM web: no; do",
        "vm": "web",
        "disk": None,
        "operation": None,
        "offset": None,
        "remedy": "do",
    }
