"""What dashboards show beside notifications: topics, activity, figures."""

from collections.abc import Sequence

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.events import ActivityReported, Audience, StatsReported, TopicsChanged
from realtime.models import WireId
from realtime.publisher import Publisher
from realtime.services.rooms import RoomService
from realtime.store.base import Store
from rooms import names

STATS_TOPIC = "stats"


class DashboardService:
    def __init__(
        self, *, channels: Channels, rooms: RoomService, publisher: Publisher, store: Store, clock: Clock
    ) -> None:
        self._channels = channels
        self._rooms = rooms
        self._publisher = publisher
        self._store = store
        self._clock = clock
        self._posts = 0

    def subscribe(self, session: Session, topics: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the topics that the connection is subscribed to now, and those that it may not be.

        Raises INVALID_PAYLOAD, ROOM_LIMIT.
        """
        accepted, rejected = self._rooms.subscribe(session, topics)
        if accepted:
            self._tell(session, accepted, subscribed=True)
        return accepted, rejected

    def unsubscribe(self, session: Session, topics: Sequence[str]) -> list[str]:
        """Raises INVALID_PAYLOAD, ROOM_LIMIT."""
        left = self._rooms.unsubscribe(session, topics)
        self._tell(session, left, subscribed=False)
        return left

    def _tell(self, session: Session, topics: list[str], *, subscribed: bool) -> None:
        self._publisher.publish_to_connection(TopicsChanged(self._clock(), topics, subscribed), session)

    def report_activity(self, user: WireId, type: str, message: str) -> int:
        """Show something that happened around a user on their dashboards; returns how many."""
        return self._publisher.publish(ActivityReported(self._clock(), user, type, message), Audience.user(str(user)))

    def report_stats(self, *, user: WireId | None, connections: int, messages: int, posts: int) -> int:
        """Show figures to one user, or to everybody. The number of posts for everybody is kept for live figures."""
        if user is None:
            self._posts = posts
        audience = Audience.all_users() if user is None else Audience.user(str(user))
        return self._publisher.publish(StatsReported(self._clock(), connections, messages, posts), audience)

    async def tick(self) -> None:
        """Show live figures to whoever subscribed to them."""
        room = names.topic(STATS_TOPIC)
        if not self._channels.members(room):
            return
        messages = await self._store.message_count()
        event = StatsReported(self._clock(), len(self._channels), messages, self._posts)
        self._publisher.publish(event, Audience.room(room))
