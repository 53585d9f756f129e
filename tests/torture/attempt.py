"""`transferd` with commits of 4 MiB: on the small disks of a sweep, recorded blocks are then at stake too.

Everything else is the command as its users run it: `python -m tests.torture.attempt copy SOURCE TARGET`.
"""

from functools import partial

from transferd import options
from transferd.__main__ import main
from transferd.limits import Limits
from transferd.plan import BLOCK

options.Limits = partial(Limits, commit_bytes=BLOCK)

if __name__ == "__main__":
    main()
