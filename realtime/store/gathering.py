"""Small requests that come in crowds: those of the same few milliseconds are answered together."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from realtime.errors import StoreUnavailable

GATHER_SECONDS = 0.005
"""How long the first request waits for others. A commit takes about as long."""

PATIENT_SECONDS = 0.05
"""The same when nobody waits for the answer: a larger crowd costs less for each."""

GATHER_MAX = 500
"""Requests that are answered together; when so many wait they are handed over at once."""

T = TypeVar("T")
R = TypeVar("R")
Run = Callable[[Sequence[T]], asyncio.Future[Sequence[R]]]


class Gathering(Generic[T, R]):
    """Collects requests and hands them to `run`, which answers all of them, in order, in one future.

    When the crowd fails and the database is not to blame, each request is tried alone: who cannot be served harms
    nobody else.
    """

    def __init__(self, run: Run[T, R]) -> None:
        self._run = run
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._patient = False  # nobody waits for what waits
        self._running: dict[asyncio.Future[Sequence[R]], list[tuple[T, asyncio.Future[R]]]] = {}

    def add(self, request: T, *, patient: bool = False) -> asyncio.Future[R]:
        """Return the answer's future, which may be cancelled. Never raises. Call it on the store's event loop.

        `patient` says that nobody waits for the answer, unless by `settle`.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        self._waiting.append((request, answer))
        if self._timer is not None and self._patient and not patient:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._patient = patient
            self._timer = loop.call_later(PATIENT_SECONDS if patient else GATHER_SECONDS, self.hand_over)
        if len(self._waiting) >= GATHER_MAX:
            self.hand_over()
        return answer

    async def settle(self, concerns: Callable[[T], bool]) -> None:
        """Return when those requests are answered, well or badly, that `concerns` is true of."""
        crowds = [*self._running.values(), self._waiting]
        answers = [answer for crowd in crowds for request, answer in crowd if concerns(request)]
        if answers:
            self.hand_over()
            await asyncio.wait(answers)

    def hand_over(self) -> None:
        """Do what waits before anything that is asked from now on."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        crowd, self._waiting = self._waiting, []
        self._start(crowd)

    def _start(self, crowd: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            running = self._run([request for request, _ in crowd])
        except StoreUnavailable as error:
            _fail(crowd, error)
            return
        self._running[running] = crowd
        running.add_done_callback(lambda done: self._answer(crowd, done))

    def _answer(self, crowd: list[tuple[T, asyncio.Future[R]]], done: asyncio.Future[Sequence[R]]) -> None:
        del self._running[done]
        if done.cancelled():
            _fail(crowd, StoreUnavailable("The database is closed"))
            return
        error = done.exception()
        if error is None:
            for (_, answer), result in zip(crowd, done.result(), strict=True):
                if not answer.done():
                    answer.set_result(result)
        elif len(crowd) == 1 or isinstance(error, StoreUnavailable):
            _fail(crowd, error)
        else:
            for one in crowd:
                self._start([one])


def _fail(crowd: list[tuple[T, asyncio.Future[R]]], error: BaseException) -> None:
    for _, answer in crowd:
        if not answer.done():
            answer.set_exception(error)
