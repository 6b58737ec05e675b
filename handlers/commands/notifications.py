"""subscribe_notifications and unsubscribe_notifications: connecting subscribes already."""

from handlers.commands.base import Ack, Bucket, Command, CommandServices
from realtime.engine.channel import Session


def _follow(services: CommandServices, session: Session, payload: object) -> Ack:
    session.channel.muted.discard(session.sid)
    services.counter.greet(session)
    return {}


def _unfollow(services: CommandServices, session: Session, payload: object) -> Ack:
    """The connection stays and hears nothing of notifications until it follows again."""
    session.channel.muted.add(session.sid)
    services.counter.greet(session)
    return {}


COMMANDS = {
    "follow_notifications": Command(_follow, Bucket.SIGNALS),
    "unfollow_notifications": Command(_unfollow, Bucket.SIGNALS),
}
