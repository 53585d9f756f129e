"""Reading many objects' properties at once, through the PropertyCollector with explicit paths.

Attribute access on a managed object is one round trip each; this is one for a whole inventory page.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

PAGE = 500  # objects that a read returns at once


def retrieve(
    content: Any, paths: tuple[str, ...], objects: list[Any] | None, kind: type[Any] = vim.VirtualMachine
) -> list[tuple[Any, dict[str, Any]]]:
    """Values by path of `objects`, which are of one kind, or (None) of every VM. Unset ones are left out."""
    collector = vmodl.query.PropertyCollector
    wanted = collector.PropertySpec(type=kind, pathSet=[*paths], all=False)
    view = None
    if objects is None:
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        through = collector.TraversalSpec(name="view", type=type(view), path="view", skip=False)
        roots = [collector.ObjectSpec(obj=view, skip=True, selectSet=[through])]
    else:
        roots = [collector.ObjectSpec(obj=each) for each in objects]
    try:
        spec = collector.FilterSpec(objectSet=roots, propSet=[wanted])
        options = collector.RetrieveOptions(maxObjects=PAGE)
        page = content.propertyCollector.RetrievePropertiesEx([spec], options)
        found = []
        while page is not None:
            found += [(each.obj, _values(each)) for each in page.objects]
            token = page.token
            page = content.propertyCollector.ContinueRetrievePropertiesEx(token) if token else None
    finally:
        if view is not None:
            view.Destroy()
    return found


def _values(content: Any) -> dict[str, Any]:
    """Properties by path. Unset ones are left out; a lost session must not look like an unset property."""
    for missing in content.missingSet or ():
        if isinstance(missing.fault, vim.fault.NotAuthenticated):
            raise missing.fault
    return {each.name: each.val for each in content.propSet or ()}
