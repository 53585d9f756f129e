"""The steps that make a Linux guest run on VirtIO hardware, in their order.

A step is a function (tree, inspection, wishes) -> Contribution. It reads and decides, and writes nothing;
the first line of its docstring is what the user sees while it runs. The order matters in one place: the
initramfs is last, because it takes in what the steps before it have written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert.linux.devices import use_uuids
from convert.linux.kernels import bring_virtio
from convert.linux.network import keep_names
from convert.linux.tools import mask_vmware_tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from convert.inspection import Inspection
    from convert.plan import Contribution
    from convert.tree import Tree
    from convert.wishes import Wishes

    Step = Callable[[Tree, Inspection, Wishes], Contribution]

STEPS: tuple[Step, ...] = (use_uuids, keep_names, mask_vmware_tools, bring_virtio)
