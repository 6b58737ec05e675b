"""Who runs what sqlite_membership does, and what tokens bring: changes that come in crowds, and reads that must come
after them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from realtime.errors import StoreUnavailable
from realtime.models import MembershipChange, Principal, Retention, Seen, Target, User, user_principal
from realtime.store import sqlite_directory as directory
from realtime.store import sqlite_membership as membership
from realtime.store.base import AskingStore
from realtime.store.gathering import Gathering
from realtime.store.sqlite_database import KEPT_BY_DEFAULT, SqliteDatabase
from realtime.store.sqlite_writer import Work
from realtime.store.users import is_role, memberships, same, seen_again

T = TypeVar("T")


class SqliteMembers(SqliteDatabase):
    """The memberships of `realtime.store.base.InboxStore`, and the tokens of `DirectoryStore`."""

    def __init__(self, path: Path | str, *, exclusive: bool = True, retention: Retention = KEPT_BY_DEFAULT) -> None:
        super().__init__(path, exclusive=exclusive, retention=retention)
        self._looks = Gathering(self._look_at_users)
        self._tokens = Gathering(self._touch_users)
        self._changes = Gathering(self._change_memberships)
        self._ask: Callable[[str, bool], asyncio.Future[Any] | None] | None = None
        self._late: set[str] = set()
        self._opening: set[asyncio.Future[frozenset[Principal]]] = set()

    async def open(self) -> None:
        await super().open()
        try:
            self._late = await self._read(membership.late_audiences)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._hand_over()
        await super().close()

    def _hand_over(self) -> None:
        self._tokens.hand_over()
        self._changes.hand_over()

    async def touch_user(self, seen: Seen, *, now: float) -> User:
        """Reads first, which waits for no other writer: almost every token says nothing new."""
        await self._settle(lambda change: change.reader == user_principal(seen.id))
        old = await self._looks.add(seen.id)
        if old is not None and same(old, seen_again(old, seen, now=now)):
            return old
        return await self._tokens.add((seen, now))

    def note_user(self, seen: Seen, *, now: float) -> asyncio.Future[User]:
        return self._tokens.add((seen, now), patient=True)

    def _look_at_users(self, ids: Sequence[str]) -> asyncio.Future[Sequence[User | None]]:
        return asyncio.ensure_future(self._read(lambda db: _each(directory.users(db, ids), ids)))

    def _touch_users(self, tokens: Sequence[tuple[Seen, float]]) -> asyncio.Future[Sequence[User]]:
        return self._submit(lambda db: directory.touch(db, tokens))

    async def user(self, id: str) -> User | None:
        return await self._read_for(user_principal(id), lambda db: directory.user(db, id))

    async def readers(self, audience: str) -> list[Principal]:
        await self._settle_audience(audience)
        return await self._read(lambda db: membership.readers(db, audience))

    async def open_membership(self, reader: Principal, audience: str, *, now: float) -> bool:
        return await self._write(lambda db: membership.open_(db, reader, audience))

    async def close_membership(self, reader: Principal, audience: str, *, now: float) -> None:
        await self._write(lambda db: membership.close(db, reader, audience))

    def change_memberships(
        self, changes: Sequence[MembershipChange], *, now: float
    ) -> asyncio.Future[frozenset[Principal]]:
        return self._changes.add(changes, patient=True)

    def _change_memberships(
        self, calls: Sequence[Sequence[MembershipChange]]
    ) -> asyncio.Future[Sequence[frozenset[Principal]]]:
        return self._submit(lambda db: membership.change(db, calls))

    def open_memberships_of(
        self, audience: str, readers: Sequence[Principal], *, now: float
    ) -> asyncio.Future[frozenset[Principal]]:
        self._hand_over()
        try:
            asked = self._submit(lambda db: membership.open_all(db, audience, readers))
        except StoreUnavailable as error:
            asked = asyncio.get_running_loop().create_future()
            asked.set_exception(error)
        self._opening.add(asked)
        asked.add_done_callback(self._opening.discard)
        return asked

    def ask_first(self, ask: Callable[[str, bool], asyncio.Future[Any] | None]) -> AskingStore | None:
        if not self._file.serves_alone:
            return None
        self._ask = ask
        return self

    def waits_late(self, audience: str) -> bool:
        return audience in self._late or len(self._late) > membership.LATE_MAX

    async def _ask_about(self, *audiences: str) -> None:
        """Return when it is stored who holds audiences, without giving way any more. Raises what storing raises."""
        if self._ask is None:
            return
        again = False
        while asked := [future for audience in audiences if (future := self._ask(audience, again)) is not None]:
            self._hand_over()
            await asyncio.wait(asked)
            for future in asked:
                future.result()
            again = True

    async def _about_to_publish(self, targets: Sequence[Target]) -> None:
        await self._ask_about(*dict.fromkeys(target.audience for target in targets if target.audience is not None))
        for target in targets:
            if target.late_join and target.audience is not None and len(self._late) <= membership.LATE_MAX:
                self._late.add(target.audience)

    async def drop_membership(self, reader: Principal, audience: str) -> None:
        await self._write(lambda db: membership.drop(db, reader, audience))

    async def audiences_of(self, reader: Principal, prefix: str) -> list[str]:
        await self._settle(lambda change: change.reader == reader)
        return await self._read(lambda db: membership.audiences_of(db, reader, prefix))

    async def open_memberships(self, prefix: str) -> list[tuple[Principal, str]]:
        await self._settle(lambda change: change.audience.startswith(prefix))
        return await self._read(lambda db: membership.open_ones(db, prefix))

    async def _settle(self, concerns: Callable[[MembershipChange], bool], *, every_token: bool = False) -> None:
        """Let what is read now come after the changes of memberships that it depends on."""
        await self._tokens.settle(lambda token: every_token or any(map(concerns, memberships(token[0]))))
        await self._changes.settle(lambda changes: any(map(concerns, changes)))
        if self._opening:
            await asyncio.wait(self._opening)

    async def _settle_audience(self, audience: str) -> None:
        """Let what is read now come after everybody's coming to an audience and going from it."""
        await self._ask_about(audience)
        await self._settle(lambda change: change.audience == audience, every_token=is_role(audience))

    async def _read_for(self, reader: Principal, work: Work[T]) -> T:
        """Read what depends on the reader's memberships."""
        await self._settle(lambda change: change.reader == reader)
        return await self._read(work)

    async def _write(self, work: Work[T]) -> T:
        self._hand_over()  # whoever asks now comes after them
        return await super()._write(work)


def _each(users: Iterable[User], ids: Sequence[str]) -> list[User | None]:
    known = {user.id: user for user in users}
    return [known.get(id) for id in ids]
