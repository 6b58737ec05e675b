"""Directory entries as tokens and administrators change them; what is stored of it is the store's business."""

from dataclasses import replace

from realtime.models import MembershipChange, Seen, User, user_principal, wire_id

NEW_STATUS = "offline"
NEW_ROLE = "user"


def seen_again(old: User | None, seen: Seen, *, now: float) -> User:
    """Return the user as the token leaves it; equal to `old` when there is nothing to write.

    A token without name, email, locale or time zone does not erase what is known.
    """
    if old is None:
        return User(
            seen.id, seen.wire_id, seen.role, seen.name, seen.email, NEW_STATUS, now, None,
            locale=seen.locale, tz=seen.tz,
        )  # fmt: skip
    return replace(
        old,
        wire_id=seen.wire_id,
        role=old.role if old.role_set_at > seen.issued_at else seen.role,
        name=old.name if seen.name is None else seen.name,
        email=old.email if seen.email is None else seen.email,
        locale=old.locale if seen.locale is None else seen.locale,
        tz=old.tz if seen.tz is None else seen.tz,
    )


def same(old: User | None, new: User) -> bool:
    """Whether nothing has to be written. 7, 7.0 and "7" are different ids on the wire."""
    return old == new and old is not None and type(old.wire_id) is type(new.wire_id)


def memberships(seen: Seen) -> list[MembershipChange]:
    """Return what a token may open for its user: what depends on these must come after it."""
    principal = user_principal(seen.id)
    return [MembershipChange(principal, audience, open=True) for audience in ("all", f"role:{seen.role}")]


def is_role(audience: str | None) -> bool:
    """Whether any token may concern an audience: it takes its user out of the one of their former role."""
    return audience is not None and audience.startswith("role:")


def as_given(old: User | None, id: str, *, role: str | None, name: str | None, now: float) -> User:
    """Return the user as an administrator leaves it. An unknown one is made, with NEW_ROLE unless a role is given."""
    new = old or User(id, wire_id(id), NEW_ROLE, None, None, NEW_STATUS, now, None)
    if role is not None:
        new = replace(new, role=role, role_set_at=now)
    return new if name is None else replace(new, name=name)
