"""One session's thread: takes blocks from the plan, keeps reads in flight, asks again what was lost.

    plan -> [slot] -> reads of the block, each when depth, budget and pace allow -> block complete -> deliver

Recovery is here, the same for every source, and only what was in flight is asked again:

    the server refused a read       -> the same read again, a little later; READ_ATTEMPTS make it permanent
    the source had no memory for it -> the window is halved, the read asked again, for as long as others pass
    the session is lost             -> closed, opened anew with growing pauses, for twice `patience`;
                                       a spare one, SPARE_PATIENCE: then the others take over what it had
    the session is silent           -> after `patience` seconds it counts as hung: closed, opened anew;
                                       STRIKES in a row without one answer are an error

A buffer is handed on only after every read into it was answered; closing a session takes back what it was
given. So a late answer can never write into a buffer that meanwhile holds another block.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from transferd.backends import Answer, Session, Source
from transferd.crew import Crew, Halted
from transferd.errors import Error, Overload, RetriesExhausted, SourceError, Transient
from transferd.limits import Means
from transferd.plan import Block, Run
from transferd.ring import Ring
from transferd.stats import Stats
from transferd.supply import Arrival, Request, Supply
from transferd.window import Window

READ_ATTEMPTS = 6  # of one read that the server refuses
READ_DELAY = 0.1  # s before the second attempt, doubled for each further one, with jitter
LOSSES = 8  # of sessions with the same read in flight: then it is the read that kills them
RECONNECT_DELAYS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)  # s; the last is repeated
STRIKES = 3  # hung sessions in a row
SPARE_PATIENCE = 10.0  # s for which a session that others can replace is opened anew
LINGER = 0.005  # s between looks whether another reader left something
TICK = 0.1  # s; the longest wait, so that a halt and a deadline are seen


class _GivenUp(Exception):  # noqa: N818 (an ending, not an error)
    """A spare reader has lost its session for good."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the readers of one disk share with each other and with the rest of the copy."""

    source: Source
    supply: Supply
    ring: Ring
    means: Means
    stats: Stats
    crew: Crew
    deliver: Callable[[Arrival | Run], None]


@dataclass(slots=True)
class Reader:
    """Run `run` in a thread. `retire` lets it finish what it has in flight and end."""

    shared: Shared
    window: Window
    spare: bool = False  # one of several: it gives up where the first one would go on trying
    retired: bool = False
    ended: bool = False
    _session: Session | None = None
    _fresh: list[Request] = field(default_factory=list)  # never asked, of the block begun last; reversed
    _again: list[Request] = field(default_factory=list)  # to be asked again
    _asked: set[Request] = field(default_factory=set)
    _strikes: int = 0
    _heard: float = 0.0  # monotonic time of the last sign of life

    def retire(self) -> None:
        self.retired = True

    def run(self) -> None:
        """Until the plan is drained and everything asked was answered, or the crew halts."""
        try:
            if self.spare and not self._opens():
                return
            while not (self.shared.crew.halted or self._done):
                pause = self._ask()
                if self._asked:
                    self._listen(min(pause, TICK))
                elif self._again or self._fresh:
                    self.shared.crew.wait(min(pause, TICK))
                elif self.shared.supply.drained:
                    self.shared.crew.wait(LINGER)
        except _GivenUp:
            pass
        except SourceError as error:
            raise error.within(disk=self.shared.source.name) from error.__cause__
        finally:
            self.ended = True
            left = [*self._again, *reversed(self._fresh), *self._asked]
            self._let_go(hung=False)
            if self.spare:
                self.shared.supply.leave(left)

    @property
    def _done(self) -> bool:
        """The first reader stays for what a spare one may leave."""
        if self._asked or self._again or self._fresh:
            return False
        return (self.retired or self.shared.supply.drained) if self.spare else self.shared.supply.finished

    # --- asking ------------------------------------------------------------------------------------------

    def _ask(self) -> float:
        """Ask for as much as is allowed; seconds until more may be."""
        while len(self._asked) < self.window.depth:
            request = self._next()
            if request is None:
                break
            length = len(request.view)
            if not self.shared.means.budget.take(length, first=not self._asked):
                self._put_back(request)
                break
            wait = self.shared.means.pace.take(length)
            if wait:
                self.shared.means.budget.give(length)
                self._put_back(request)
                self._heard = time.monotonic()  # silence of our own making
                return wait
            self._send(request)
        return self._until_due() if self._again and not self._fresh else TICK

    def _next(self) -> Request | None:
        now = time.monotonic()
        for number, request in enumerate(self._again):
            if request.due <= now:
                return self._again.pop(number)
        left = self.shared.supply.left()
        if left is not None:
            return left
        if not self._fresh and not self.retired:
            self._begin_block()
        return self._fresh.pop() if self._fresh else None

    def _put_back(self, request: Request) -> None:
        self._fresh.append(request)

    def _until_due(self) -> float:
        return max(min(request.due for request in self._again) - time.monotonic(), 0.001)

    def _begin_block(self) -> None:
        """Take work until there is a block with something to read, and a buffer for it."""
        slot = self.shared.ring.acquire(0.0 if self._asked or self._again else TICK)
        if slot is None:
            return
        work = self.shared.supply.take()
        while isinstance(work, Run) and not self.shared.crew.halted:
            self.shared.deliver(work)
            work = self.shared.supply.take()
        if not isinstance(work, Block):
            self.shared.ring.release(slot)
            return
        arrival = Arrival(work, slot, len(work.reads))
        if not work.reads:
            self.shared.deliver(arrival)
        for read in reversed(work.reads):
            offset = read.start - work.start
            self._fresh.append(Request(read.start, slot[offset : offset + read.length], arrival))

    def _send(self, request: Request) -> None:
        if not self._asked:
            self._heard = time.monotonic()
        self._asked.add(request)
        request.asked = time.monotonic()
        self.shared.stats.add(in_flight=len(request.view))
        try:
            self._connected().read(request.start, request.view, request)
        except Transient as error:
            self._lost(error)

    # --- listening ---------------------------------------------------------------------------------------

    def _listen(self, timeout: float) -> None:
        try:
            answers = self._connected().wait(timeout)
        except Transient as error:
            self._lost(error)
            return
        now = time.monotonic()
        for answer in answers:
            self._answered(answer, now)
        if answers:
            self._heard = now
        elif now - self._heard > self.shared.means.limits.patience:
            self._hung()

    def _answered(self, answer: Answer, now: float) -> None:
        request: Request = answer.token
        self._asked.discard(request)
        length = len(request.view)
        self.shared.means.budget.give(length)
        self.shared.stats.add(in_flight=-length)
        if answer.error is not None:
            self._refused(request, answer.error, now)
            return
        self._strikes = 0
        latency = now - request.asked
        self.window.answered(latency, length, now)
        self.shared.stats.took("read", latency)
        self.shared.stats.add(read=length)
        request.arrival.left -= 1
        if request.arrival.left == 0:
            self.shared.deliver(request.arrival)

    def _refused(self, request: Request, error: Error, now: float) -> None:
        self.shared.stats.add(retries=1)
        if isinstance(error, Overload):
            self.window.overloaded(now)
            self.shared.stats.add(overloads=1)
            request.due = now + random.uniform(0.1, 0.5)  # noqa: S311 (jitter)
        else:
            request.refusals += 1
            if not isinstance(error, SourceError) or request.refusals == READ_ATTEMPTS:
                error.problem += f" ({request.refusals} attempts)"
                raise error
            delay = READ_DELAY * 2 ** (request.refusals - 1)
            request.due = now + delay * random.uniform(0.5, 1.5)  # noqa: S311 (jitter)
        self._again.append(request)

    # --- recovery ----------------------------------------------------------------------------------------

    def _connected(self) -> Session:
        if self._session is None:
            self._session = self._opened()
            self._heard = time.monotonic()
        return self._session

    def _opens(self) -> bool:
        """Whether the source gives a session more: it may have no more to give, and that is no fault."""
        try:
            self._session = self.shared.source.session()
        except Error:
            return False
        return True

    def _opened(self) -> Session:
        """A session, tried for twice `patience`; by a spare reader, for less."""
        patience = 2 * self.shared.means.limits.patience
        deadline = time.monotonic() + (min(patience, SPARE_PATIENCE) if self.spare else patience)
        attempt = 0
        while True:
            try:
                return self.shared.source.session()
            except Transient as error:
                delay = RECONNECT_DELAYS[min(attempt, len(RECONNECT_DELAYS) - 1)]
                attempt += 1
                if time.monotonic() + delay > deadline:
                    if self.spare:
                        raise _GivenUp from error
                    raise RetriesExhausted(
                        f"{error.problem} ({attempt} attempts)",
                        disk=self.shared.source.name,
                        operation="connect",
                        remedy="check that the source runs and is reachable, then run the command again",
                    ) from error
                if self.shared.crew.wait(delay):
                    raise Halted from error

    def _lost(self, error: Transient) -> None:
        """The session is gone: everything in flight is asked again, on a new one."""
        self.shared.stats.add(reconnects=1, retries=len(self._asked))
        for request in self._asked:
            request.losses += 1
            if request.losses == LOSSES:
                raise RetriesExhausted(
                    f"{error.problem} ({LOSSES} times with this read in flight)",
                    disk=self.shared.source.name,
                    operation="read",
                    offset=request.start,
                    remedy="the source keeps failing at this place; look at its own log",
                ) from error
        again = sorted(self._asked, key=lambda request: request.start)
        self._let_go(hung=False)
        self._again.extend(again)

    def _hung(self) -> None:
        self._strikes += 1
        oldest = min(self._asked, key=lambda request: request.asked)
        problem = f"no answer within {self.shared.means.limits.patience:.0f} s"
        if self._strikes == STRIKES and self.spare:
            raise _GivenUp
        if self._strikes == STRIKES:
            raise SourceError(
                f"{problem}, {STRIKES} times",
                operation="read",
                offset=oldest.start,
                remedy="the source hangs: look at its own log, then run the command again",
            )
        self.shared.stats.add(reconnects=1, retries=len(self._asked))
        again = sorted(self._asked, key=lambda request: request.start)
        self._let_go(hung=True)
        self._again.extend(again)

    def _let_go(self, *, hung: bool) -> None:
        """Close the session; its reads are no longer in flight."""
        for request in self._asked:
            self.shared.means.budget.give(len(request.view))
            self.shared.stats.add(in_flight=-len(request.view))
        self._asked.clear()
        session, self._session = self._session, None
        if session is not None:
            session.close(hung=hung)
