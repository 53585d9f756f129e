"""Changed block tracking: switched on where it is off, and never believed before it is seen to work.

vSphere stores the wish at once and acts on it at the next stun of the VM: taking and removing a snapshot is
one. A disk without a changeId afterwards is not tracked (independent, RDM, too old a VM), and a warm
migration of it would be a guess.
"""

from __future__ import annotations

import structlog
from pyVmomi import vim

from transferd.vsphere import snapshots
from transferd.vsphere.session import Session
from transferd.vsphere.snapshots import Machine

log = structlog.get_logger()

RECONFIGURE_DEADLINE = 300.0  # s


def enabled(session: Session, vm: Machine) -> bool:
    values = session.properties(session.vm_object(vm.moref), "config.changeTrackingEnabled", name=vm.name)
    return bool(values.get("config.changeTrackingEnabled"))


def switch_on(session: Session, vm: Machine, name: str) -> None:
    """Switch it on, and make it effective by taking and removing a snapshot called `name`."""
    log.info("switching on changed block tracking", vm=vm.name)
    machine = session.vm_object(vm.moref)
    wish = vim.vm.ConfigSpec(changeTrackingEnabled=True)
    task = session.call(
        "switch on changed block tracking", lambda: machine.ReconfigVM_Task(spec=wish), vm.name
    )
    session.wait_for(task, "switch on changed block tracking", vm.name, RECONFIGURE_DEADLINE)
    snapshots.remove(session, vm, snapshots.take(session, vm, name).moref)
