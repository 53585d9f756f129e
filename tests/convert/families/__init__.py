"""Phony guests: what each family of distributions leaves on its disks about itself and how it boots.

The files are as the distributions' installers and kernel packages write them, shortened to what a machine
reads; the programs are empty. `tests/convert/trees.py` holds the same families' network configuration.
"""

from tests.convert.families import debian, others, red_hat, suse
from tests.convert.families.parts import Family

__all__ = ["FAMILIES", "Family"]

FAMILIES = {**red_hat.FAMILIES, **suse.FAMILIES, **debian.FAMILIES, **others.FAMILIES}
