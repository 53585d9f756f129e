"""Which name each NIC had in the guest, proven offline from the guest's own files. Pure.

The levels of `evidence` are asked in their order, and each decides only what the levels above left open.
Where a level gives one NIC two names, or one name to two NICs, it decides nothing for them, and the levels
below may only choose among those names: a wrong name is worse than a new one, so it is reported, not guessed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from convert.linux.evidence import LEVELS, Question
from convert.linux.interfaces import GLOB, slot_name
from transferd.errors import printable
from transferd.model import NicName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convert.linux.evidence import Claim
    from convert.linux.interfaces import Clues, Nic

# What one NIC's evidence may say, so that a guest with 10,000 files does not make a report of 10,000 lines.
EVIDENCE_LINES = 12
EVIDENCE_LENGTH = 300
NAMES_SHOWN = 10


def resolve(nics: Sequence[Nic], clues: Clues) -> tuple[NicName, ...]:
    """One answer for each NIC, in order; `name` is None where nothing proved one."""
    settled: dict[str, Claim] = {}
    among: dict[str, set[str]] = {}
    contradicted: frozenset[str] = frozenset()
    bound = _bound(nics, clues)
    for level in LEVELS:
        question = Question(_left(nics, settled), tuple(nics), clues, _names(settled), contradicted)
        claims = list(level(question))
        possible = [
            claim
            for claim in claims
            if question.free(claim.name)
            and claim.name in among.get(claim.mac, {claim.name})
            and claim.mac in bound.get(claim.name, {claim.mac})
        ]
        decided = _undisputed(possible)
        for claim in possible:
            if claim.mac not in decided:
                among.setdefault(claim.mac, {each.name for each in possible if each.mac == claim.mac})
        settled |= decided
        contradicted |= {claim.mac for claim in claims}
    told = _told(nics, clues, settled)
    return tuple(_answer(nic, settled.get(nic.mac), told[nic.mac], clues) for nic in nics)


def _left(nics: Sequence[Nic], settled: dict[str, Claim]) -> tuple[Nic, ...]:
    return tuple(nic for nic in nics if nic.mac not in settled)


def _names(settled: dict[str, Claim]) -> dict[str, str]:
    return {mac: claim.name for mac, claim in settled.items()}


def _bound(nics: Sequence[Nic], clues: Clues) -> dict[str, set[str]]:
    """The NICs for which alone a name can be, because its configuration matches their MACs."""
    here = {nic.mac for nic in nics}
    matched = {name: {each.mac for each in records if each.mac} for name, records in clues.physical.items()}
    return {name: macs & here for name, macs in matched.items() if macs & here}


def _undisputed(claims: list[Claim]) -> dict[str, Claim]:
    names, macs = defaultdict(set), defaultdict(set)
    for claim in claims:
        names[claim.mac].add(claim.name)
        macs[claim.name].add(claim.mac)
    agreed = [claim for claim in claims if len(names[claim.mac]) == 1 and len(macs[claim.name]) == 1]
    return {claim.mac: claim for claim in reversed(agreed)}


def _told(nics: Sequence[Nic], clues: Clues, settled: dict[str, Claim]) -> dict[str, list[str]]:
    """All that any level says of each NIC: what decided, then what agrees, then what speaks against it."""
    names = _names(settled)
    question = Question(tuple(nics), tuple(nics), clues, names, frozenset())
    claims = [claim for level in LEVELS for claim in level(question)]
    told = {nic.mac: [settled[nic.mac].why] if nic.mac in settled else [] for nic in nics}
    for claim in claims:
        if names.get(claim.mac, claim.name) == claim.name:
            told[claim.mac].append(claim.why)
    for claim in claims:
        if names.get(claim.mac, claim.name) != claim.name:
            told[claim.mac].append(f"against it: {claim.why}")
    return told


def _answer(nic: Nic, claim: Claim | None, told: list[str], clues: Clues) -> NicName:
    if claim is not None:
        return NicName(mac=nic.mac, name=claim.name, evidence=_shown(told))
    return NicName(mac=nic.mac, name=None, evidence=_shown([*told, *_what_was_seen(nic, clues)]))


def _what_was_seen(nic: Nic, clues: Clues) -> Iterator[str]:
    for record in clues.interfaces:
        if record.mac == nic.mac and GLOB.search(record.name):
            yield f"{record.where} configures this MAC under any name"
        if record.assigned == nic.mac:
            yield f"{record.where} gives this MAC to {record.name}, which may be any NIC"
    if nic.slot is not None:
        yield f"PCI slot {nic.slot} would be {slot_name(nic.slot)}; naming is {clues.naming.value}"
    names = sorted(clues.physical)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    yield f"configured physical interfaces: {', '.join(names[:NAMES_SHOWN]) or 'none'}{more}"
    yield from clues.unread


def _shown(lines: list[str]) -> list[str]:
    """Names of files are the guest's: escaped, and no longer than a reader bears."""
    return [printable(line)[:EVIDENCE_LENGTH] for line in dict.fromkeys(lines)][:EVIDENCE_LINES]
