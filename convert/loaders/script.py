"""grub.cfg as the script that it is, as far as its menu depends on it.

A grub.cfg sets variables, asks for a few of them, and declares menu entries; only `default` and the entries
matter here. So the script is read, not run: assignments and `load_env` fill variables, `[ ... ]` is answered
where its operands say it, bodies of functions are passed over, and every other command is taken to have
worked.

All work is bounded: the file by the limit of a text, expansion by `EXPANDED`, entries by `menu.LIMIT`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convert.loaders.menu import LIMIT
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Characters of one value: eight times what the kernel takes as its command line on x86 (COMMAND_LINE_SIZE).
VALUE = 16 * 1024
# Characters that all values of one script may have: `set a="$a$a"` doubles with every line.
EXPANDED = 8 * 1024 * 1024
# Words before the brace of a block: a title and some options.
HEAD = 256
# Submenus in submenus; distributions have one.
DEPTH = 16
# Files that a script may take in with `source`.
SOURCES = 32

TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r]|\\\n)+)|(?P<end>[;\n])|(?P<comment>\#[^\n]*)
    |(?P<word>(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s;'"\\])+)""",
    re.VERBOSE | re.DOTALL,
)
PIECE = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^'"\\]+)|(.)""", re.DOTALL)
VARIABLE = re.compile(r"\\(.)|\$(?:\{(\w+)\}|(\w+|[?*@#]))", re.DOTALL)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
LINUX = frozenset({"linux", "linux16", "linuxefi"})
INITRD = frozenset({"initrd", "initrd16", "initrdefi"})
WITH_VALUE = frozenset({"--class", "--users", "--hotkey", "--id"})


@dataclass
class Item:
    """One line of the menu. A submenu has `items`, another system's entry no kernel."""

    title: str
    name: str = ""
    kernel: str = ""
    options: str = ""
    initrds: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    snippet: bool = False


@dataclass
class Branch:
    """One open `if`. `around`: what it stands in is live; `taken`: some branch was; `live`: this one is."""

    around: bool
    taken: bool
    live: bool


def statements(content: str) -> Iterator[list[str]]:
    """Commands as lists of words, which still have their quotes."""
    words: list[str] = []
    at = 0
    while at < len(content):
        match = TOKEN.match(content, at)
        at = match.end() if match else at + 1
        if match and match.lastgroup == "word":
            words.append(match[0])
        elif match and match.lastgroup == "end" and words:
            yield words
            words = []
    if words:
        yield words


class Script:
    """One reading. `read` gives the text of a file that the script names, None if there is none; `menu` the
    entries that `blscfg` would add."""

    def __init__(
        self,
        variables: dict[str, str],
        read: Callable[[str], str | None],
        environment: Callable[[str | None], dict[str, str]],
        menu: Callable[[dict[str, str]], list[Item]],
    ) -> None:
        self.variables = dict(variables)
        self.items: list[Item] = []
        self._read = read
        self._environment = environment
        self._menu = menu
        self._blocks: list[Item | None] = []
        self._branches: list[Branch] = []
        self._left = EXPANDED
        self._sources = SOURCES
        self._count = 0

    def run(self, content: str) -> None:
        for words in statements(content):
            self._statement(words)

    def _statement(self, words: list[str]) -> None:
        at = 0
        while at < len(words):
            word = words[at]
            if word in ("menuentry", "submenu", "function"):
                at = self._block(words, at)
            elif word in ("then", "do", "{"):
                at += 1
            elif word == "}":
                del self._blocks[-1:]
                at += 1
            elif word == "else":
                self._next([])
                at += 1
            else:
                self._simple(word, words[at:])
                return

    def _simple(self, word: str, words: list[str]) -> None:
        if word == "if":
            live = self._live()
            true = live and self._holds(words[1:])
            self._branches.append(Branch(live, true, true))
        elif word == "elif":
            self._next(words[1:])
        elif word == "fi":
            del self._branches[-1:]
        elif self._live():
            self._command(words)

    def _live(self) -> bool:
        branch = self._branches[-1] if self._branches else Branch(True, True, True)
        inside = self._blocks[-1] if self._blocks else Item("")
        return inside is not None and branch.around and branch.live

    def _next(self, condition: list[str]) -> None:
        if self._branches:
            branch = self._branches[-1]
            branch.live = branch.around and not branch.taken and self._holds(condition)
            branch.taken |= branch.live

    def _block(self, words: list[str], at: int) -> int:
        """Opens a block and gives the place behind its brace. What is in a function is not live."""
        brace = words.index("{", at) if "{" in words[at : at + HEAD] else len(words)
        if len(self._blocks) == DEPTH:
            raise ConversionError(f"grub.cfg nests more than {DEPTH} blocks", operation="inspect")
        item = None
        if self._live() and words[at] != "function":
            item = self._item(self._expanded(words[at + 1 : min(brace, at + HEAD)]))
        if item is not None:
            self._add(item, self._blocks[-1] if self._blocks else None)
        self._blocks.append(item)
        return brace + 1

    def _item(self, words: list[str]) -> Item:
        item = Item("")
        waiting = iter(words)
        for word in waiting:
            name, equals, value = word.partition("=")
            if name in WITH_VALUE:
                given = value if equals else next(waiting, "")
                item.name = given if name == "--id" else item.name
            elif not item.title and not word.startswith("--"):
                item.title = word
        return item

    def _add(self, item: Item, parent: Item | None) -> None:
        self._count += 1
        if self._count > LIMIT:
            raise ConversionError(f"grub.cfg has more than {LIMIT} boot entries", operation="inspect")
        (parent.items if parent else self.items).append(item)

    def _command(self, words: list[str]) -> None:
        found = self._expanded(words)
        match found:
            case ["set", *pairs] | ["export", *pairs]:
                for pair in pairs:
                    self._assign(pair)
            case ["unset", name, *_]:
                self.variables.pop(name, None)
            case ["load_env", *arguments]:
                self._load(arguments)
            case [("source" | "."), path, *_] if self._sources > 0:
                self._sources -= 1
                self.run(self._read(path) or "")
            case [("blscfg" | "bls_import"), *_]:
                for item in self._menu(self.variables):
                    self._add(item, None)
            case [command, *_] if ASSIGNMENT.match(command):
                self._assign(command)
            case [command, *arguments] if arguments:
                self._boot(command, arguments)

    def _boot(self, command: str, arguments: list[str]) -> None:
        item = self._blocks[-1] if self._blocks else None
        if item is None:
            return
        if command in LINUX:
            item.kernel, item.options = arguments[0], " ".join(arguments[1:])
        elif command in INITRD:
            item.initrds = [word for word in arguments if not word.startswith("--")]

    def _assign(self, pair: str) -> None:
        if match := ASSIGNMENT.fullmatch(pair):
            self.variables[match[1]] = match[2]

    def _load(self, arguments: list[str]) -> None:
        named = arguments[arguments.index("-f") + 1 :] if "-f" in arguments else []
        self.variables |= self._environment(named[0] if named else None)

    def _holds(self, condition: list[str]) -> bool:
        words = self._expanded(condition)
        if words[:1] != ["["]:
            return True
        return any(all(_true(part) for part in _split(side, "-a")) for side in _split(words[1:], "-o"))

    def _expanded(self, words: list[str]) -> list[str]:
        """Words as the command gets them. An unquoted one that comes to nothing is none."""
        found = [(word, self._word(word)) for word in words]
        return [part for word, value in found for part in _parts(word, value)]

    def _word(self, word: str) -> str:
        text = "".join(self._piece(*piece.groups()) for piece in PIECE.finditer(word))[:VALUE]
        self._left -= len(text)
        if self._left < 0:
            raise ConversionError(
                "grub.cfg is too large once its variables are expanded", operation="inspect"
            )
        return text

    def _piece(
        self, literal: str | None, quoted: str | None, escaped: str | None, bare: str | None, odd: str | None
    ) -> str:
        if literal is not None or escaped is not None:
            return literal or escaped or ""
        return VARIABLE.sub(self._variable, quoted if quoted is not None else bare or odd or "")

    def _variable(self, match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1] if match[1] in '"\\$' else match[0]
        return self.variables.get(match[2] or match[3], "")


def _parts(word: str, value: str) -> list[str]:
    """grub splits an unquoted variable at its spaces, as a shell does."""
    if word.startswith("$") and "'" not in word and '"' not in word:
        return value.split()
    return [value]


def _split(words: list[str], operator: str) -> list[list[str]]:
    sides: list[list[str]] = [[]]
    for word in words:
        if word == operator:
            sides.append([])
        elif word != "]":
            sides[-1].append(word)
    return sides


def _true(words: list[str]) -> bool:
    """What `[ ... ]` says; True for questions about files and machines, which are not asked here."""
    negations = next((at for at, word in enumerate(words) if word != "!"), len(words))
    return _plainly_true(words[negations:]) != bool(negations % 2)


def _plainly_true(words: list[str]) -> bool:
    match words:
        case [("-z" | "-n") as question, *value]:
            return bool("".join(value)) == (question == "-n")
        case [left, ("=" | "==" | "!=") as question, right]:
            return (left == right) == (question != "!=")
        case [value]:
            return bool(value)
        case _:
            return bool(words)
