"""A MODEL of a changed-block round that goes area by area, as CDI's does: read one, write one.

From pkg/importer/vddk-datasource_amd64.go of kubevirt/containerized-data-importer at commit c07cdb6: the
areas of QueryChangedDiskAreas are copied in the order in which they come (1278-1351), block status is asked
only for areas of 1 MiB and more (776-782), a read is synchronous and so is the write after it (818-871).
Paging the areas out of vSphere is left out: here they are known from the start.

    python -m bench.serial URI TARGET AREAS     AREAS: JSON, a list of offsets of areas of 64 KiB
"""

import json
import os
import sys
from pathlib import Path

import nbd

from bench.disks import AREA


def main(uri: str, target: str, areas: str) -> None:
    starts: list[int] = json.loads(Path(areas).read_text())
    handle = nbd.NBD()
    handle.connect_uri(uri)
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(file, handle.get_size())
    for start in starts:
        os.pwrite(file, handle.pread(AREA, start), start)
    os.fsync(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
