"""The steps that make a Linux guest run on VirtIO hardware, in their order.

A step is a function (tree, inspection, wishes) -> Contribution. It reads and decides, and writes nothing;
the first line of its docstring is what the user sees while it runs. The order matters in one place: the
initramfs is last, because it takes in what the steps before it have written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert.linux.agent import bring_agent
from convert.linux.console import look_at_console
from convert.linux.devices import use_uuids
from convert.linux.display import use_common_display
from convert.linux.fallback import keep_a_loader
from convert.linux.kernels import bring_virtio
from convert.linux.modprobe import let_virtio_load
from convert.linux.network import keep_names
from convert.linux.vmware import quiet_vmware_tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from convert.inspection import Inspection
    from convert.plan import Contribution
    from convert.tree import Tree
    from convert.wishes import Wishes

    Step = Callable[[Tree, Inspection, Wishes], Contribution]

STEPS: tuple[Step, ...] = (
    use_uuids,
    keep_names,
    quiet_vmware_tools,
    let_virtio_load,
    use_common_display,
    look_at_console,
    bring_agent,
    keep_a_loader,
    bring_virtio,
)
