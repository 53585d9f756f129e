"""A password that stopped working is tried once, however many disks are read."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from transferd.errors import AuthenticationError, SourceError
from transferd.guard import Guard


def test_a_refused_password_is_tried_once_by_all_together():
    guard, tried = Guard(), []

    def log_in(_number: int) -> str:
        try:
            with guard.trying("old"):
                tried.append("old")
                time.sleep(0.05)
                raise AuthenticationError("refused")
        except AuthenticationError as error:
            return error.problem

    with ThreadPoolExecutor(10) as pool:
        said = [*pool.map(log_in, range(10))]

    assert tried == ["old"]
    assert sorted(said) == ["VDDK refused the password before"] * 9 + ["refused"]


def test_a_password_that_worked_is_used_by_many_at_once_and_another_may_follow_a_refused_one():
    guard, inside = Guard(), threading.Barrier(4, timeout=5)
    with pytest.raises(AuthenticationError), guard.trying("old"):
        raise AuthenticationError("refused")
    with guard.trying("new"):
        pass

    def log_in(_number: int) -> None:
        with guard.trying("new"):
            inside.wait()

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(log_in, range(4))] == [None] * 4


def test_another_error_says_nothing_about_the_password():
    guard = Guard()
    for _ in range(2):
        with pytest.raises(SourceError), guard.trying("good"):
            raise SourceError("no such disk")
    with guard.trying("good"):
        pass
