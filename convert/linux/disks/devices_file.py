"""LVM's devices file, /etc/lvm/devices/system.devices: the list of the only devices that LVM looks at. Pure.

Its entries know a disk by VMware's identity (IDTYPE=sys_wwid, IDNAME=naa.6000c29...) or by the kernel's name,
and on new hardware nothing fits: the volume groups are gone, the root with them. Where the file does not
exist, LVM uses every device (lvmdevices(8)). So it is put beside, and a list that was made to hide a disk is
not lost. Entries of arrays, containers and volumes are known by content and do not ask for that.

LVM searches for the physical volume of a devname entry on other devices too (lvm.conf, search_for_devnames),
but only on those without an identity of their own, and the new disks may have one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert import hardware

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

# Types of identity that a disk has from its hardware, or from its place (lvmdevices(8), device ID types).
BY_HARDWARE = re.compile(
    r"^[ \t]*IDTYPE=(?:sys_wwid|sys_serial|scsi_id|wwid_(?:naa|eui|t10)|devname)\b", re.MULTILINE
)
ENTRY = re.compile(
    r"IDTYPE=(?!md_|crypt_|lvmlv_|mpath_|loop_)\S+ IDNAME=\S+ DEVNAME=\S+ PVID=(?P<pvid>\w{32})"
)
PATH = "/etc/lvm/devices/system.devices"
BESIDE = ".before-transferd"


def devices_file(content: str, names: Names, where: str) -> str | None:
    if BY_HARDWARE.search(content) is None:
        return content
    names.note(where, "it lists disks by their identity on VMware; without it LVM looks at every device")
    return None


def in_image(content: str, names: Names, where: str) -> str:  # noqa: ARG001 (an edit)
    """A file cannot be taken out of an image: entries of the kernel's new names, which LVM finds by PVID."""
    return ENTRY.sub(lambda match: _entry(match, names), content)


def _entry(match: re.Match[str], names: Names) -> str:
    volume = next((f for f in names.devices.filesystems if _pvid(f.uuid) == match["pvid"]), None)
    if volume is None or volume.disk is None:
        return match[0]
    device = hardware.lettered("/dev/vd", volume.disk) + str(volume.partition or "")
    return f"IDTYPE=devname IDNAME={device} DEVNAME={device} PVID={match['pvid']}"


def _pvid(uuid: str | None) -> str:
    return (uuid or "").replace("-", "")
