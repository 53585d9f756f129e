"""What a guest's words on its serial console prove, however they arrive."""

from __future__ import annotations

import pytest

from convert.console import LIMIT, LINES, WIDTH, Console

BOOT = b"SeaBIOS\r\nBooting from Hard Disk...\r\n\x1b[2J[    0.000000] Linux version 6.1.0\r\n"


@pytest.mark.parametrize(
    "prompt",
    [
        b"\r\nDebian GNU/Linux 12 web01 ttyS0\r\n\r\nweb01 login: ",
        b"\nlocalhost login: ",
        b"\r\n\x1b[?2004h\x1b[1mweb01\x1b[0m login: ",
        b"\r\nweb01.example.org login: [   20.1] random: crng init done\r\n",
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_a_login_prompt_is_known_in_whatever_pieces_it_arrives(prompt, piece):
    console, said = Console(), BOOT + prompt
    verdicts = [console.hear(said[at : at + piece]) for at in range(0, len(said), piece)]

    assert [verdict.outcome for verdict in verdicts if verdict][:1] == ["login"]


@pytest.mark.parametrize(
    "words",
    [
        b"[  OK  ] Started systemd-logind.service - User Login Management.\r\n",
        b"[  OK  ] Reached target getty.target - Login Prompts.\r\n",
        b"pam: last login: yesterday\r\n",
        b"login: ",
    ],
)
def test_other_words_about_logins_prove_nothing(words):
    assert Console().hear(BOOT + words) is None


def test_a_login_prompt_in_emergency_mode_is_a_failure():
    verdict = Console().hear(BOOT + b"You are in emergency mode. After logging in, type\r\nweb01 login: ")

    assert verdict is not None
    assert (verdict.outcome, verdict.seen) == ("failed", "emergency mode")


def test_a_sentinel_is_the_only_proof_where_one_is_wanted():
    console = Console(b"service \xc3\xa4 is up")

    assert console.hear(BOOT + b"\r\nweb01 login: service \xc3") is None
    verdict = console.hear(b"\xa4 is up")
    assert verdict is not None
    assert verdict.outcome == "sentinel"


def test_what_is_kept_is_bounded_and_the_newest():
    console = Console()
    for number in range(300):
        console.hear(b"%010d" % number + b"x" * (LIMIT // 100))

    assert len(console.log()) == LIMIT
    assert len(console.said) <= 2 * LIMIT
    assert b"%010d" % 299 in console.log()
    assert b"%010d" % 100 not in console.log()


def test_quoted_lines_are_few_short_and_harmless():
    console = Console()
    console.hear(b"\x1b[31mred\x1b[0m\r\n" * 50 + b"\x1b]0;title\x07\xff\x00\x9b2J\xe2\x80\xae" + b"w" * 1000)

    lines = console.last_lines()

    assert len(lines) == LINES
    assert lines[0] == "red"
    assert all(line.isprintable() and len(line) <= WIDTH for line in lines)
