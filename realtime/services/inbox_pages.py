"""What has changed in an inbox, page by page: one that a client asks for, or all of them for one that has come back."""

from collections.abc import Sequence

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import InboxSynced
from realtime.models import Notification
from realtime.publisher import Publisher
from realtime.services.counts import UnreadCounter, unread_changed
from realtime.services.errands import Errands
from realtime.services.notifications import NotificationService
from realtime.services.sync import SyncPage, SyncService

PAGE = 40
"""Changes that a client is told at a time, when it does not say how many."""

MAX_PAGE = 100
PAGE_BYTES = 48 * 1024
"""About how large a page may be, unless a single change is larger: less than may wait for a slow connection."""

ALL = ""
"""In place of a token: the whole inbox."""


class InboxPages:
    def __init__(
        self,
        *,
        sync: SyncService,
        notifications: NotificationService,
        counter: UnreadCounter,
        publisher: Publisher,
        errands: Errands,
        clock: Clock,
    ) -> None:
        self._sync = sync
        self._notifications = notifications
        self._counter = counter
        self._publisher = publisher
        self._errands = errands
        self._clock = clock

    async def page(self, session: Session, since: str, limit: int) -> InboxSynced:
        """Return at most `limit` changes since a token, fewer when they are large. Raises INVALID_PAYLOAD."""
        return self._event(session, await self._page(session, since, limit))

    async def _page(self, session: Session, since: str, limit: int) -> SyncPage:
        token = None if since == ALL else since
        return await self._sync.page(session.identity.principal, token, limit=limit, size=PAGE_BYTES)

    def _event(self, session: Session, page: SyncPage) -> InboxSynced:
        return InboxSynced(
            self._clock(),
            session.identity.wire_id,
            page.token,
            tuple((change.id, change.notification) for change in page.changes),
            unread=page.counts.unread,
            reset=page.reset,
            more=page.more,
        )

    def tell(self, session: Session, since: str, *, counted: bool = False) -> None:
        """Tell one connection everything since a token, as fast as its client takes it; of what is no token, all.

        Call it before anything is awaited after its admission. What comes meanwhile is shown afterwards. With
        `counted` it is told the counts first.
        """
        self._errands.run(session, self._tell(session, since, counted))

    async def _tell(self, session: Session, since: str, counted: bool) -> None:
        async def pages() -> Sequence[Notification]:
            await self._tell_pages(session, since, counted)
            return ()

        await self._notifications.tell_missed(session, pages, lambda: session.channel.drain(session.sid))

    async def _tell_pages(self, session: Session, since: str, counted: bool) -> None:
        try:
            page = await self._first(session, since)
        except StoreUnavailable:
            if counted:
                self._counter.greet(session)  # which tries again
            raise
        if counted:
            event = unread_changed(page.counts, session.identity.wire_id, self._clock())
            self._publisher.publish_to_connection(event, session)
            self._counter.greet(session, told=page.counts)
        while self._publisher.publish_to_connection(self._event(session, page), session) and page.more:
            if not await session.channel.drain(session.sid):
                return
            page = await self._page(session, page.token, PAGE)

    async def _first(self, session: Session, since: str) -> SyncPage:
        try:
            return await self._page(session, since, PAGE)
        except RealtimeError as error:
            if error.code is not Code.INVALID_PAYLOAD:
                raise
            return await self._page(session, ALL, PAGE)
