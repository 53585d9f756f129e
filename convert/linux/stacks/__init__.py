"""All that a guest's files say of its NICs: one module for each network stack, and three for what stands
beside them (naming rules, traces of earlier runs, the naming policy).

Every stack is read, whether or not it is the one that runs: a file that names a NIC is evidence wherever it
lies, and files that contradict each other are the resolver's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert.linux.interfaces import Clues
from convert.linux.stacks import ifcfg, ifupdown, keyfile, naming, netctl, netplan, networkd, rules, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from convert.linux.interfaces import Interface
    from convert.linux.stacks.reading import Reader

STACKS: tuple[Callable[[Reader], Iterator[Interface]], ...] = (
    ifcfg.interfaces,
    keyfile.interfaces,
    netplan.interfaces,
    networkd.interfaces,
    ifupdown.interfaces,
    netctl.interfaces,
)


def clues(reader: Reader) -> Clues:
    lines = naming.command_lines(reader)
    named = tuple(rules.sightings(reader, lines.all))
    policy = naming.policy(reader, lines)
    configured = tuple(interface for stack in STACKS for interface in stack(reader))
    # Last, so that a guest with thousands of leases cannot use up the limits of the reader before.
    traces = tuple(states.sightings(reader))
    return Clues(configured, named, traces, policy, reader.unread)
