"""Who is typing where. A start that nobody renews ends by itself."""

from dataclasses import dataclass

TYPING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Typing:
    """One person typing through one connection, into a room, to a person, or to everybody (`target` is "")."""

    sid: str
    target: str


@dataclass(frozen=True, slots=True)
class TypingDiff:
    """What ended."""

    stopped: tuple[Typing, ...] = ()


_NOTHING = TypingDiff()


class TypingState:
    """Every open typing indicator, with its end `seconds` after the last start."""

    def __init__(self, *, seconds: float = TYPING_SECONDS) -> None:
        self._seconds = seconds
        self._ends: dict[Typing, float] = {}
        self._of: dict[str, set[Typing]] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def start(self, typing: Typing, now: float) -> None:
        """Open or renew an indicator."""
        self._ends.pop(typing, None)  # reinserted last, so that `_ends` stays in order of time
        self._ends[typing] = now + self._seconds
        self._of.setdefault(typing.sid, set()).add(typing)

    def stop(self, typing: Typing) -> bool:
        """Close an indicator; False when it was not open."""
        if self._ends.pop(typing, None) is None:
            return False
        mine = self._of[typing.sid]
        mine.discard(typing)
        if not mine:
            del self._of[typing.sid]
        return True

    def leave(self, sid: str, target: str | None = None) -> TypingDiff:
        """Close what a connection has open: everything, or only into one target."""
        mine = self._of.get(sid)
        if mine is None:
            return _NOTHING
        ended = tuple(typing for typing in mine if target is None or typing.target == target)
        for typing in ended:
            self.stop(typing)
        return TypingDiff(ended)

    def expire(self, now: float) -> TypingDiff:
        ended = []
        for typing, end in self._ends.items():
            if end > now:
                break
            ended.append(typing)
        for typing in ended:
            self.stop(typing)
        return TypingDiff(tuple(ended))
