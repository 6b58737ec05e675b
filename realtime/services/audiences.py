"""Who of an audience is connected now."""

from collections.abc import Collection, Iterable, Sequence

from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.models import Principal, Target, WireId
from realtime.services.directory import Directory
from realtime.store.base import Store

ROLE_PREFIX = "role:"
LOOKED_UP = 100
"""Subscribers of a room who are looked up one by one, which takes some microseconds each; for more it is cheaper to
go through all connections once."""


class Audiences:
    def __init__(self, *, store: Store, channels: Channels, directory: Directory) -> None:
        self._store = store
        self._channels = channels
        self._directory = directory

    async def readers(self, target: Target) -> dict[Principal, WireId]:
        """Return who is connected and can see a new notification, and their ids on the wire."""
        if target.recipient is not None:
            return await self._recipient(target.recipient)
        audience = target.audience or ""
        if _is_decided_here(audience):
            online = _people(self._receiving([audience]))
        else:
            online = self._connected(await self._store.readers(audience))
        return {who: online[who] for who in sorted(online.keys() - target.excluded)}

    def _connected(self, principals: Sequence[Principal]) -> dict[Principal, WireId]:
        """Return who of some is connected. Nothing is built of those who are not: they may be very many."""
        if len(principals) <= LOOKED_UP:
            return _people(session for principal in principals for session in self._channels.of(principal))
        online = _people(self._receiving(["all"]))
        return {who: online[who] for who in principals if who in online}

    async def _recipient(self, recipient: Principal) -> dict[Principal, WireId]:
        if not self._channels.is_connected(recipient):
            return {}
        sessions = self._channels.of(recipient)
        if sessions:
            return {recipient: sessions[0].identity.wire_id}
        return {recipient: await self._directory.wire_id(recipient.partition(":")[2])}

    def may_have_received(self, audiences: Collection[str]) -> set[Principal]:
        """Return who is connected and may see broadcasts of before to any of some audiences: of a room everybody,
        because who has left it keeps what they received."""
        return {session.identity.principal for session in self._receiving(audiences)}

    def _receiving(self, audiences: Collection[str]) -> list[Session]:
        """Return the connections of whoever an audience may be about; all of them are looked at once."""
        roles = {name.removeprefix(ROLE_PREFIX) for name in audiences if name.startswith(ROLE_PREFIX)}
        guests = "guests" in audiences
        users = any(name != "guests" and not name.startswith(ROLE_PREFIX) for name in audiences)
        return [
            session
            for session in self._channels.sessions()
            if (guests if session.identity.guest else users or (bool(roles) and self._has_one(session, roles)))
        ]

    def _has_one(self, session: Session, roles: Collection[str]) -> bool:
        """Whether a user has one of some roles, as their connections or their latest request say: it decides what
        they receive."""
        return session.member.audience in roles or self._directory.audience_of(session.identity.id) in roles

    def everybody(self) -> set[Principal]:
        return {session.identity.principal for session in self._channels.sessions()}


def _people(sessions: Iterable[Session]) -> dict[Principal, WireId]:
    return {session.identity.principal: session.identity.wire_id for session in sessions}


def _is_decided_here(audience: str) -> bool:
    """Rooms' subscriptions are in the store only: staff may be subscribed without being connected to the room."""
    return audience in ("all", "guests") or audience.startswith(ROLE_PREFIX)
