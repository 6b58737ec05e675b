"""refresh_token and bookingUpdate."""

from handlers.commands.base import Ack, Bucket, Command, CommandServices, relayed
from realtime.clock import optional_timestamp
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError


async def _refresh(services: CommandServices, session: Session, payload: object) -> Ack:
    """Swap the token of a live connection for a newer one of the same principal."""
    token = payload.get("token") if isinstance(payload, dict) else payload
    if not isinstance(token, str) or not token:
        raise RealtimeError(Code.INVALID_PAYLOAD, "token is required")
    identity = await services.verifier.verify(token.strip().removeprefix("Bearer ").strip())
    await services.sessions.refresh(session, identity)
    return {"expiresAt": optional_timestamp(identity.expires_at)}


async def _relay_booking(services: CommandServices, session: Session, payload: object) -> Ack:
    return {"delivered": await services.bookings.relay(session, relayed(payload))}


COMMANDS = {
    "refresh_token": Command(_refresh, Bucket.MESSAGES),
    "relay_booking": Command(_relay_booking, Bucket.MESSAGES),
}
