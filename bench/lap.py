"""One command, timed: a script of its own, because whoever starts a process also sets its memory's high mark.

Linux counts the memory of the starter, as it was at exec, into the ru_maxrss of what it starts (exec_mmap in
fs/exec.c). A test runner that has just mapped a disk of 4 GiB would give every tool 4 GiB. This script is
8 MiB large; that is the least it can report.

The clock stops when the command has ended and, if it wrote a target, fsync on the target has returned: a tool
that syncs pays nothing here, one that does not pays what it left undone.

    lap.py DEADLINE TARGET|- COMMAND...   one JSON object on stdout; the command's own output goes to stderr
"""

import os
import signal
import sys
import time


def sync(target: str) -> None:
    descriptor = os.open(target, os.O_WRONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(deadline: str, target: str, *command: str) -> int:
    started, clock = time.time(), time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(int(deadline))
    _, status, usage = os.wait4(child, 0)
    signal.alarm(0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        if target != "-":
            sync(target)
        seconds = time.monotonic() - clock
        cpu = usage.ru_utime + usage.ru_stime
        peak = usage.ru_maxrss * 1024
        print(f'{{"started": {started}, "seconds": {seconds}, "cpu": {cpu}, "peak": {peak}}}')
    return abs(code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
