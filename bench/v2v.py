"""virt-v2v, watched: when each of its phases began, and how long the guest's own initramfs tool ran.

virt-v2v says each phase as it begins, and libguestfs, told to trace (`-x`), each call as it is made and as it
returns. This script reads both as they come and notes the time of each:

    v2v.py NOTES DISK FOLDER     JSON to NOTES: seconds by phase, of copying, of the initramfs tool

The appliance runs on the accelerator that transferd-convert finds usable, not on what /dev/kvm promises.

`-i disk -o local`: the only mode in which it needs neither a hypervisor nor a network. It converts a copy on
the way to FOLDER, so its phase "copy" is apart from its conversion, and can be left out of a comparison.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from convert.accel import backend_settings

# Source: virt-v2v 2.2, v2v/v2v.ml and convert/convert.ml, the arguments of `message`.
PHASE = re.compile(rb"\[ *[0-9.]+\] (.+)")
COPY = "Copying disk"
# Source: libguestfs 1.48, generator/c.ml, trace_call and trace_return.
CALL = re.compile(rb'libguestfs: trace: .*command ".*(update-initramfs|dracut|mkinitrd)')
RETURN = re.compile(rb"libguestfs: trace: .*command = ")


def main(notes: str, disk: str, folder: str) -> int:
    command = ["virt-v2v", "-x", "-i", "disk", disk, "-o", "local", "-os", folder]
    begun: list[tuple[str, float]] = []
    called, rebuilt = 0.0, 0.0
    settings = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": ":".join(backend_settings())}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | settings
    ) as running:
        for line in running.stdout or ():
            now = time.monotonic()
            if phase := PHASE.match(line):
                begun.append((phase[1].decode("utf-8", "replace"), now))
            elif CALL.match(line):
                called = now
            elif called and RETURN.match(line):
                called, rebuilt = 0.0, rebuilt + now - called
            sys.stderr.buffer.write(line)
    ends = [at for _, at in begun[1:]] + [time.monotonic()]
    phases = {name: round(until - at, 2) for (name, at), until in zip(begun, ends, strict=True)}
    copied = sum(took for name, took in phases.items() if name.startswith(COPY))
    Path(notes).write_text(json.dumps({"phases": phases, "copy": copied, "initramfs": round(rebuilt, 2)}))
    return running.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
