"""Work that ends in the order in which it began, whichever of it is done first."""

import asyncio
from collections import deque
from types import TracebackType

PATIENCE = 3.0
"""Seconds: so long one that is stuck keeps those after it waiting, once. Requests have 10 s."""


class Turns:
    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._queue: deque[Turn] = deque()

    def take(self) -> "Turn":
        """Get in line. It must be used as a context: whoever leaves it lets the next one go on."""
        turn = Turn(self)
        self._queue.append(turn)
        return turn

    async def _comes(self, turn: "Turn") -> None:
        if self._is_first(turn):
            return
        try:
            async with asyncio.timeout(self.patience):
                await turn.first.wait()
        except TimeoutError:
            self._pass_over(turn)

    def _is_first(self, turn: "Turn") -> bool:
        return turn.passed or self._queue[0] is turn

    def _pass_over(self, turn: "Turn") -> None:
        """Nobody waits any more for those before a turn that has waited long enough."""
        while not self._is_first(turn):
            before = self._queue.popleft()
            before.passed = True
            before.first.set()

    def _over(self, turn: "Turn") -> None:
        turn.over = True
        while self._queue and self._queue[0].over:
            self._queue.popleft()
        if self._queue:
            self._queue[0].first.set()


class Turn:
    """One place in the line. `passed`: it took too long, and those after it have gone on."""

    __slots__ = ("_turns", "first", "over", "passed")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.first = asyncio.Event()
        self.over = False
        self.passed = False

    async def comes(self) -> None:
        """Return when all that began before has ended, or has kept others waiting for too long."""
        await self._turns._comes(self)

    def __enter__(self) -> "Turn":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns._over(self)
