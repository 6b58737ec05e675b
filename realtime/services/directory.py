"""Users ever seen, and what a person may do given their token and what an administrator set since."""

import asyncio
import functools
from dataclasses import replace
from typing import Protocol

import structlog

from realtime.auth import Identity
from realtime.clock import Clock
from realtime.errors import StoreUnavailable
from realtime.models import Principal, Seen, User, WireId, user_principal, wire_id
from realtime.store.base import Store
from rooms import names
from rooms.policy import ADMIN_ROOM_ROLES, Member

log = structlog.get_logger(__name__)

CACHE_SIZE = 50_000
KNOWN_SECONDS = 60.0
"""How long what the store holds of a user is taken for granted: another process may have removed them."""

ADMIN_AUDIENCE = f"room:{names.ADMIN_ROOM}"
_NONE: frozenset[str] = frozenset()


class CountWatcher(Protocol):
    """Told when somebody's counts may have changed."""

    def mark(self, *principals: Principal) -> None: ...


class Directory:
    """The token decides access and the directory decides audiences, with one exception: a role that an
    administrator set after the token was issued takes away what that role may not do (docs/decisions.md)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, Identity] = {}
        self._seen_at: dict[str, float] = {}
        self._set_roles: dict[str, tuple[str, float]] = {}
        self._admin_readers: dict[Principal, float] = {}
        self._counts: list[CountWatcher] = []

    def tell_counts(self, watcher: CountWatcher) -> None:
        """Another role may see more, or less."""
        self._counts.append(watcher)

    async def start(self) -> None:
        self._set_roles = await self._store.roles_set()
        self._admin_readers = dict.fromkeys(await self._store.readers(ADMIN_AUDIENCE), self._clock())

    def member(self, identity: Identity) -> Member:
        """Return what the person may do and hear now."""
        role, set_at = self._set_roles.get(identity.id, ("", 0.0))
        newer = bool(role) and not identity.guest and set_at > identity.issued_at
        return Member(
            id=identity.id,
            guest=identity.guest,
            roles=_roles(identity.role, role) if newer else _roles(identity.role),
            audience=role if newer else identity.role,
            grants=identity.grants,
        )

    def audience_of(self, user: str) -> str | None:
        """Return the role whose broadcasts a user receives; None when nobody has said it lately."""
        known = self._seen.get(user)
        if known is not None:
            return self.member(known).audience
        return self._set_roles[user][0] if user in self._set_roles else None

    async def see(self, identity: Identity) -> None:
        """Record whom a token names. A database that cannot write does not keep people out."""
        if identity.guest or self._says_nothing_new(identity):
            return
        set_before = self._set_roles.get(identity.id)
        try:
            user = await self._store.touch_user(_seen(identity), now=self._clock())
            await self._hold_admin_audience(user)
            if self._set_roles.get(identity.id) != set_before:
                # An administrator was quicker: what is true now is what counts.
                await self._hold_admin_audience(await self._store.user(identity.id) or user)
                return
        except StoreUnavailable:
            self._not_recorded(identity)
            return
        known = self._seen.get(identity.id)
        self._remember(identity)
        if known is not None and known.role != identity.role:
            for watcher in self._counts:
                watcher.mark(user_principal(identity.id))

    async def see_connecting(self, identity: Identity) -> None:
        """As `see`, but without waiting where nothing depends on the answer: the store does it before whatever it is
        asked from now on. Administrators hold an audience more, and whose role is another may see something else."""
        if identity.guest or self._says_nothing_new(identity):
            return
        known = self._seen.get(identity.id)
        if (known is not None and known.role != identity.role) or self._concerns_administrators(identity):
            await self.see(identity)
            return
        asked = asyncio.ensure_future(self._store.note_user(_seen(identity), now=self._clock()))
        asked.add_done_callback(functools.partial(self._noted, identity, self._set_roles.get(identity.id)))

    def _concerns_administrators(self, identity: Identity) -> bool:
        """Whether they may hold, or lose, the administrators' audience."""
        set_role, _ = self._set_roles.get(identity.id, ("", 0.0))
        roles = (identity.role, set_role)
        return not ADMIN_ROOM_ROLES.isdisjoint(roles) or identity.principal in self._admin_readers

    def _noted(self, identity: Identity, set_before: tuple[str, float] | None, asked: "asyncio.Future[User]") -> None:
        error = None if asked.cancelled() else asked.exception()
        if asked.cancelled() or isinstance(error, StoreUnavailable):
            self._not_recorded(identity)
        elif error is not None:
            log.error("directory not updated", user=identity.id, exc_info=error)
        elif self._set_roles.get(identity.id) == set_before and asked.result().role not in ADMIN_ROOM_ROLES:
            self._remember(identity)
        # Else an administrator was quicker, here or in another process: the next token is looked at again.

    def _not_recorded(self, identity: Identity) -> None:
        log.warning("directory not updated: the database is not available", user=identity.id)
        if self._says_the_same(identity):
            self._remember(identity)  # and asks again later

    def _says_nothing_new(self, identity: Identity) -> bool:
        """Whether the store knows all of a token, and did a moment ago."""
        return self._is_fresh(self._seen_at.get(identity.id)) and self._says_the_same(identity)

    def _is_fresh(self, at: float | None) -> bool:
        return at is not None and abs(self._clock() - at) < KNOWN_SECONDS

    def _says_the_same(self, identity: Identity) -> bool:
        """Whether the last token said all of this one. When it was issued matters to roles that an administrator
        set."""
        known = self._seen.get(identity.id)
        if known is None:
            return False
        same = (
            known.wire_id == identity.wire_id
            and type(known.wire_id) is type(identity.wire_id)
            and known.role == identity.role
            and known.name == identity.name
            and known.email == identity.email
        )
        return same and (known.issued_at == identity.issued_at or identity.id not in self._set_roles)

    async def _hold_admin_audience(self, user: User) -> None:
        """Notifications to the admin room reach administrators who are offline, too."""
        principal = user_principal(user.id)
        if user.role in ADMIN_ROOM_ROLES:
            if not self._is_fresh(self._admin_readers.get(principal)):
                await self._store.open_membership(principal, ADMIN_AUDIENCE, now=self._clock())
                self._admin_readers[principal] = self._clock()
        elif principal in self._admin_readers:
            await self._store.drop_membership(principal, ADMIN_AUDIENCE)
            self._admin_readers.pop(principal, None)

    def _remember(self, identity: Identity) -> None:
        self._seen[identity.id] = replace(identity, grants=_NONE) if identity.grants else identity
        self._seen_at[identity.id] = self._clock()
        if len(self._seen) > CACHE_SIZE:
            self._forget(next(iter(self._seen)))

    def _forget(self, id: str) -> None:
        self._seen.pop(id, None)
        self._seen_at.pop(id, None)

    async def user(self, id: str) -> User | None:
        return await self._store.user(id)

    async def wire_id(self, id: str) -> WireId:
        """Return a user's id with the JSON type that their client expects."""
        cached = self._seen.get(id)
        if cached is not None:
            return cached.wire_id
        user = await self._store.user(id)
        return user.wire_id if user else wire_id(id)

    async def set_user(self, id: str, *, role: str | None, name: str | None) -> User:
        """Store what an administrator set. Live connections are the rooms service's business."""
        user = await self._store.set_user(id, role=role, name=name, now=self._clock())
        if role is not None:
            self._set_roles[id] = (role, user.role_set_at)
        self._forget(id)
        await self._hold_admin_audience(user)
        return user


def _seen(identity: Identity) -> Seen:
    return Seen(
        id=identity.id,
        wire_id=identity.wire_id,
        role=identity.role,
        name=identity.name,
        email=identity.email,
        issued_at=identity.issued_at,
    )


@functools.lru_cache(maxsize=1024)
def _roles(*roles: str) -> frozenset[str]:
    """One set for everybody of a role: there are many people and few roles."""
    return frozenset(roles)
