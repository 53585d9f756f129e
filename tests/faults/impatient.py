"""`transferd` that waits seconds where the real one waits minutes or hours; all else is as users run it.

What happens when a deadline passes does not depend on how long it was: `python -m tests.faults.impatient
migrate MIGRATION.YAML`.
"""

from transferd import rounds
from transferd.__main__ import main
from transferd.vsphere import session, snapshots

session.PASSWORD_PATIENCE = 2.0
session.PASSWORD_LOOK = 0.1
snapshots.TAKE_DEADLINE = 1.0
snapshots.LOST_ANSWER = 0.5
snapshots.REMOVE_PAUSES = (0.2,)
rounds.FINAL_REMOVAL = 1.0
rounds.GIVE_UP = 1.0
snapshots.remove.__defaults__ = (2.0,)

if __name__ == "__main__":
    main()
