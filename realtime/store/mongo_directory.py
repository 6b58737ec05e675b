"""Users ever seen, and the memberships that follow from being one.

`roles` of a document are those whose memberships the user may hold. It is more than the user's own while a change is
under way; whoever sees a user next ends what was left undone.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.errors import BulkWriteError

from realtime.models import MembershipChange, Principal, Seen, User, user_principal
from realtime.store import mongo_membership as membership
from realtime.store.documents import dumps, key, loads
from realtime.store.gathering import GATHER_MAX, Gathering
from realtime.store.mongo_database import Document, MongoDatabase
from realtime.store.users import as_given, memberships, same, seen_again

PIECE = 2000
"""Users that are written together."""

PIECE_SECONDS = 60.0
"""How long one command of an import may take."""

AT_ONCE = 50
"""Users that are changed one by one, at the same time."""

FIELDS = ("role", "name", "email", "role_set_at", "locale", "tz")
"""What changes of a user, but for the wire id."""

INDEXES = (("users", IndexModel([("role_set_at", ASCENDING)])),)

Step = Callable[[User | None], User]
Audiences = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Known:
    """A user as stored (None: not yet), the roles whose memberships they may hold, and the version of that."""

    user: User | None = None
    roles: frozenset[str] = frozenset()
    version: str | None = None


class MongoDirectory(MongoDatabase):
    """Implements `DirectoryStore` of `realtime.store.base`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tokens = Gathering(self._touch_users)

    async def close(self) -> None:
        self._tokens.hand_over()
        await super().close()

    async def touch_user(self, seen: Seen, *, now: float) -> User:
        return await self._tokens.add((seen, now))

    def note_user(self, seen: Seen, *, now: float) -> asyncio.Future[User]:
        return self._tokens.add((seen, now), patient=True)

    async def user(self, id: str) -> User | None:
        await self._settle_users([id])
        users = self.collection("users")
        found = await self.attempt(lambda: users.find_one({"_id": key(id)}))
        return None if found is None else _known(found).user

    async def set_user(self, id: str, *, role: str | None, name: str | None, now: float) -> User:
        def step(old: User | None) -> User:
            return as_given(old, id, role=role, name=name, now=now)

        await self._settle_users([id])
        return (await self.complete(self._change_user(id, [step], now=now)))[-1]

    async def set_last_seen(self, seen: Mapping[str, tuple[str, float]]) -> None:
        await self._settle_users(seen)
        users = self.collection("users")
        writes = [
            UpdateOne({"_id": key(id)}, {"$set": {"status": status, "last_seen": last_seen}})
            for id, (status, last_seen) in seen.items()
        ]
        if writes:
            await self.attempt(lambda: users.bulk_write(writes, ordered=False))

    async def roles_set(self) -> dict[str, tuple[str, float]]:
        users = self.collection("users")
        found = await self.attempt(
            lambda: users.find({"role_set_at": {"$gt": 0}}, {"id": 1, "role": 1, "role_set_at": 1}).to_list(None)
        )
        return {one["id"]: (one["role"], one["role_set_at"]) for one in found}

    async def import_users(self, seen: Sequence[Seen], *, audiences: Audiences, now: float) -> tuple[int, int]:
        """In pieces of PIECE users; after a failure the same import ends what was begun."""
        await self._settle_users(one.id for one in seen)
        steps: dict[str, list[Step]] = {}
        for one in seen:
            steps.setdefault(one.id, []).append(_step(one, now))
        everybody = await self._known_users(steps) if len(steps) > PIECE else None
        ids, new, changed = [*steps], 0, 0
        for start in range(0, len(ids), PIECE):
            piece = {id: steps[id] for id in ids[start : start + PIECE]}
            known = await self._known_users(piece) if everybody is None else everybody
            counts = await self.complete(self._import_some_users(piece, known, audiences, now=now))
            new, changed = new + counts[0], changed + counts[1]
        return new, changed

    async def settle_tokens(self, concerns: Callable[[MembershipChange], bool]) -> None:
        """Let what is asked now come after the tokens that it depends on."""
        await self._tokens.settle(lambda token: any(map(concerns, memberships(token[0]))))

    async def _settle_users(self, ids: Iterable[str]) -> None:
        principals = frozenset(map(user_principal, ids))
        await self.settle_tokens(lambda change: change.reader in principals)

    def _touch_users(self, tokens: Sequence[tuple[Seen, float]]) -> asyncio.Future[Sequence[User]]:
        return asyncio.ensure_future(self.complete(self._touch_together(tokens)))

    async def _touch_together(self, tokens: Sequence[tuple[Seen, float]]) -> Sequence[User]:
        """Reads first: almost every connection brings a token that says nothing new."""
        steps: dict[str, list[Step]] = {}
        for seen, now in tokens:
            steps.setdefault(seen.id, []).append(_step(seen, now))
        known = await self._known_users(steps)
        left = {id: _fold(known.get(id, Known()).user, some) for id, some in steps.items()}
        now = tokens[-1][1]
        taken = await self._create_users([users[-1] for id, users in left.items() if id not in known], {}, now=now)
        for id in (*taken, *(id for id in known if not _settled(known[id], left[id][-1]))):
            left[id] = await self._change_user(id, steps[id], now=now, maybe={left[id][-1].role})
        coming = {id: iter(users) for id, users in left.items()}
        return [next(coming[seen.id]) for seen, _ in tokens]

    async def _import_some_users(
        self, steps: Mapping[str, Sequence[Step]], known: Mapping[str, Known], audiences: Audiences, *, now: float
    ) -> tuple[int, int]:
        left = {id: _fold(known.get(id, Known()).user, some)[-1] for id, some in steps.items()}
        new = [user for id, user in left.items() if id not in known]
        taken = await self._create_users(new, audiences, now=now)
        held = [(user_principal(id), one) for id in steps if id in known for one in audiences.get(left[id].role, ())]
        if held:
            await membership.open_many(self, held, now=now)
        changed = [id for id in steps if id in known and not same(known[id].user, left[id])]
        unsettled = [id for id in steps if id in known and not _settled(known[id], left[id])]
        easy = [id for id in unsettled if known[id].roles == {left[id].role}]
        slow = [*taken, *({*unsettled} - {*easy}), *await self._rewrite_users([(known[id], left[id]) for id in easy])]
        for start in range(0, len(slow), AT_ONCE):
            changes = (
                self._change_user(id, steps[id], now=now, audiences=audiences, maybe={left[id].role})
                for id in slow[start : start + AT_ONCE]
            )
            await asyncio.gather(*changes)
        return len(new) - len(taken), len(changed)

    async def _known_users(self, ids: Collection[str]) -> dict[str, Known]:
        """Return those of these users that there are; of very many all that there are."""
        users = self.collection("users", latest=True)
        which = {"_id": {"$in": [key(id) for id in ids]}} if len(ids) <= PIECE else {}
        found = await self.attempt(lambda: users.find(which).to_list(None), within=_seconds(ids))
        return {one["id"]: _known(one) for one in found}

    async def _create_users(self, new: Sequence[User], audiences: Audiences, *, now: float) -> list[str]:
        """Store users, after their memberships; returns the ids of those that somebody else has stored meanwhile."""
        if not new:
            return []
        users, documents = self.collection("users"), [_document(user) for user in new]
        pairs = [(user_principal(user.id), audience) for user in new for audience in _audiences(user.role, audiences)]
        await membership.open_many(self, pairs, now=now)
        try:
            await self.attempt(lambda: users.insert_many(documents, ordered=False), within=_seconds(new))
        except BulkWriteError as error:
            failures = (error.details or {}).get("writeErrors", [])
            return [new[failure["index"]].id for failure in failures]
        return []

    async def _rewrite_users(self, changes: Sequence[tuple[Known, User]]) -> list[str]:
        """Write users whose role stays; returns the ids of all of them when somebody else was faster at one."""
        users = self.collection("users")
        writes = [
            UpdateOne({"_id": key(new.id), "version": known.version}, {"$set": _fields(new, {new.role})})
            for known, new in changes
        ]
        if not writes:
            return []
        done = await self.attempt(lambda: users.bulk_write(writes, ordered=False), within=_seconds(writes))
        return [] if done.matched_count == len(writes) else [new.id for _, new in changes]

    async def _change_user(
        self,
        id: str,
        steps: Sequence[Step],
        *,
        now: float,
        audiences: Audiences | None = None,
        maybe: Collection[str] = (),
    ) -> list[User]:
        """Let a user go through `steps`, and the memberships follow; returns the user after each.

        `maybe` are roles that somebody may have given memberships of to a user who did not get the role. Steps are
        such that doing them again changes nothing, so an answer that was lost does no harm.
        """
        users, roles = self.collection("users", latest=True), frozenset(maybe)
        async with self.lock(f"user {id}"):
            while True:
                found = await self.attempt(lambda: users.find_one({"_id": key(id)}))
                known = Known() if found is None else _known(found)
                left = _fold(known.user, steps)
                roles |= known.roles | {left[-1].role}
                if await self._settle_user(known, left[-1], roles, audiences or {}, now=now):
                    return left

    async def _settle_user(
        self, known: Known, new: User, roles: frozenset[str], audiences: Audiences, *, now: float
    ) -> bool:
        """Store a user and make their memberships those of their role. False when somebody else was faster."""
        if known.user is None:
            return not await self._create_users([new], audiences, now=now)
        version = known.version
        if not same(known.user, new) or roles != known.roles:
            version = await self._write_user(new, roles, version)
        if version is None:
            return False
        if len(roles) == 1:
            return True
        await self._follow_role(user_principal(new.id), new.role, roles - {new.role}, audiences, now=now)
        return await self._write_user(new, {new.role}, version) is not None

    async def _follow_role(
        self, reader: Principal, role: str, former: Collection[str], audiences: Audiences, *, now: float
    ) -> None:
        """Take the memberships of former roles away, and give those of the present one."""
        held = _audiences(role, audiences)
        for audience in sorted({one for other in former for one in _audiences(other, audiences)} - {*held}):
            await membership.drop(self, reader, audience, now=now)
        changes = [MembershipChange(reader, audience, open=True) for audience in held]
        await membership.change(self, changes, now=now)

    async def _write_user(self, user: User, roles: Collection[str], version: str | None) -> str | None:
        """Write a user who is still of that version; returns the next one."""
        users, fields = self.collection("users"), _fields(user, roles)
        where = {"_id": key(user.id), "version": version}
        done = await self.attempt(lambda: users.update_one(where, {"$set": fields}))
        return fields["version"] if done.matched_count else None


def _seconds(some: Sized) -> float | None:
    """Return how long a command about some users may take; None: as long as any other."""
    return None if len(some) <= GATHER_MAX else PIECE_SECONDS


def _step(seen: Seen, now: float) -> Step:
    return lambda old: seen_again(old, seen, now=now)


def _fold(user: User | None, steps: Sequence[Step]) -> list[User]:
    left: list[User] = []
    for step in steps:
        left.append(step(left[-1] if left else user))
    return left


def _settled(known: Known, new: User) -> bool:
    return same(known.user, new) and known.roles == {new.role}


def _audiences(role: str, audiences: Audiences) -> list[str]:
    return ["all", f"role:{role}", *audiences.get(role, ())]


def _document(user: User) -> Document:
    return {
        "_id": key(user.id), "id": user.id, "status": user.status, "first_seen": user.first_seen,
        "last_seen": user.last_seen, **_fields(user, {user.role}),
    }  # fmt: skip


def _fields(user: User, roles: Collection[str]) -> Document:
    """Return what changes of a user, under a new version. Raises INVALID_PAYLOAD for what is no text."""
    fields = {name: getattr(user, name) for name in FIELDS}
    dumps(fields)
    return {**fields, "wire_id": dumps(user.wire_id), "roles": sorted(roles), "version": secrets.token_hex(8)}


def _known(one: Document) -> Known:
    user = User(
        one["id"], loads(one["wire_id"]), one["role"], one["name"], one["email"], one["status"],
        one["first_seen"], one["last_seen"], one["role_set_at"], one["locale"], one["tz"],
    )  # fmt: skip
    return Known(user, frozenset(one["roles"]), one["version"])
