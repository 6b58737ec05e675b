"""What operators and other backends send: announcements, custom events, test notifications."""

from realtime.clock import Clock
from realtime.engine.server import RESERVED_EVENTS
from realtime.errors import Code, RealtimeError
from realtime.events import Audience, Custom, NoticeGiven, TestNotification
from realtime.models import Content, JsonObject, Principal, Stored, Target, WireId
from realtime.publisher import Publisher
from realtime.services.notifications import NotificationService

MAX_EVENT_NAME = 128


class BroadcastService:
    def __init__(self, *, publisher: Publisher, notifications: NotificationService, clock: Clock) -> None:
        self._publisher = publisher
        self._notifications = notifications
        self._clock = clock

    async def announce(
        self, title: str, message: str, *, audience: str, sender: Principal, request: str | None = None
    ) -> Stored:
        """Store one announcement for everybody (``all``), ``role:x`` or ``room:x``, and show it.

        Hotel guests hear of one for everybody, too, and it is not kept for them. `request` names all attempts to
        make this one.
        """
        content = Content(type="announcement", title=title, message=message)
        sent = await self._notifications.send([Target(audience=audience)], content, sender=sender, request=request)
        stored = sent.stored[0]
        if audience == "all" and not stored.repeated:
            self._publisher.publish(NoticeGiven(self._clock(), message), Audience.all())
        return stored

    def custom(self, name: str, data: object, audience: Audience) -> int:
        """Send any event to an audience; name and data pass untouched. Returns how many connections got it.

        Raises INVALID_PAYLOAD for names that the clients' libraries reserve.
        """
        if name in RESERVED_EVENTS or not name.strip() or len(name) > MAX_EVENT_NAME or not name.isprintable():
            raise RealtimeError(Code.INVALID_PAYLOAD, f"{name[:40]!r} cannot be the name of an event")
        return self._publisher.publish(Custom(self._clock(), name, data), audience)

    def test(self, title: str, message: str, type: str, *, user: WireId | None) -> JsonObject:
        """Show a notification once, to a user or to everybody; it is stored nowhere. Returns the event."""
        event = TestNotification(self._clock(), title, message, type, user)
        audience = Audience.all() if user is None else Audience.user(str(user))
        self._publisher.publish(event, audience)
        return {"title": title, "message": message, "type": type, "at": event.at}
