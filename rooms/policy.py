"""Who may be in a room: the access rules of docs/contract.md ("Room access") as one pure function.

`decide` answers what the rules themselves know. Entity rooms of people who are not staff depend on the stored
row, and then perhaps on another backend; the answer `ASK` says so, and `realtime.services.rooms` asks.
"""

from dataclasses import dataclass
from enum import Enum

from rooms import names
from rooms.names import Room

ADMIN = "admin"
MANAGER = "manager"
SERVICE = "service"
STAFF = frozenset({ADMIN, MANAGER, "technician", "staff", "employee", "receptionist", SERVICE})
ADMIN_ROOM_ROLES = frozenset({ADMIN, MANAGER})
PUBLISHER_ROLES = frozenset({ADMIN, MANAGER, SERVICE})
"""May write everything: every entity, notifications to all, announcements, publish."""


class Decision(Enum):
    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"
    """Allowed only when the stored row names the person, or the deployment's own backend says so."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person as the rules see them.

    `roles` has the token's role and, when an administrator set another one after the token was issued, that one
    too: everything must be allowed for each of them, so an old token never gives back what was taken away.
    `audience` is the role under which the person hears what is sent to a role: the newest one.
    `grants` is the token's `rooms` claim: exact names, or ``prefix_*``.
    """

    id: str
    guest: bool
    roles: frozenset[str]
    audience: str
    grants: frozenset[str] = frozenset()

    def has(self, allowed: frozenset[str]) -> bool:
        """Whether every one of the member's roles is among `allowed`. A guest holds no staff role."""
        return not self.guest and bool(self.roles) and self.roles <= allowed

    @property
    def staff(self) -> bool:
        return self.has(STAFF)

    @property
    def admin(self) -> bool:
        return self.has(frozenset({ADMIN}))


def decide(member: Member, room: Room) -> Decision:
    """Say whether `member` may be in `room`."""
    if member.admin:
        return Decision.ALLOW
    if room.kind == "entity":
        return _entity(member, room)
    allowed = {
        "user": not member.guest and room.id == member.id,
        "guest": member.guest and room.id == member.id,
        "role": not member.guest and room.id == member.audience,
        "admin": member.has(ADMIN_ROOM_ROLES),
        "channel": False,
        "other": False,
    }[room.kind]
    return Decision.ALLOW if allowed else Decision.DENY


def decide_topic(member: Member, room: Room, restricted: frozenset[str]) -> Decision:
    """Say whether a dashboard of `member` may subscribe to a topic; `restricted` are names of rooms."""
    open_ = room.name not in restricted
    granted = open_ or member.has(PUBLISHER_ROLES) or any(_grants(grant, room.name) for grant in member.grants)
    return Decision.ALLOW if granted else Decision.DENY


def _entity(member: Member, room: Room) -> Decision:
    if member.staff or any(_grants(grant, room.name) for grant in member.grants):
        return Decision.ALLOW
    return Decision.ASK


def _grants(grant: str, name: str) -> bool:
    """A grant is an exact name, or a prefix that ends in ``_*``. A bare ``*`` grants nothing."""
    if grant.endswith("_*") and "*" not in grant[:-1]:
        return name.startswith(grant[:-1])
    return grant == name


def auto_rooms(member: Member) -> list[str]:
    """Return the rooms a member is in by being connected."""
    if member.guest:
        return [names.guest(member.id)]
    rooms = [names.user(member.id), names.role(member.audience)]
    if member.has(ADMIN_ROOM_ROLES):
        rooms.append(names.ADMIN_ROOM)
    return rooms
