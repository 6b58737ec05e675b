"""The authenticated plain connections of one path."""

from collections.abc import Callable, Iterable

from realtime.engine.channel import Channel, Session
from realtime.engine.codecs import Codec, EventStream, numbered
from realtime.engine.frames import Burst, Template
from realtime.engine.plain import PlainServer
from realtime.engine.websocket import POLICY, TRY_LATER
from rooms.membership import Membership


class PlainChannel(Channel):
    def __init__(
        self, server: PlainServer, path: str, codec: Codec, *, max_rooms: int, offers_topics: bool = False
    ) -> None:
        super().__init__(path, Membership(max_rooms=max_rooms), offers_topics=offers_topics)
        self._server = server
        self._codec = codec

    def encode(self, event: str, payload: object, mark: object = None) -> Burst:
        return self._codec.encode(event, payload, mark)

    def template(self, event: str, payload: object, mark: object = None) -> Template:
        return self._codec.template(event, payload, mark)

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        return self._server.deliver(sids, burst)

    async def drain(self, sid: str) -> bool:
        link = self._server.sockets.get(sid)
        return link is not None and await link.drain()

    async def dismiss(self, sid: str) -> None:
        link = self._server.sockets.get(sid)
        if link is not None:
            link.end("server disconnect", code=POLICY, text="Token expired")

    def turn_away(self, sid: str, reason: str) -> None:
        link = self._server.sockets.get(sid)
        if link is not None:
            link.end("server disconnect", code=TRY_LATER, text=reason)


class StreamChannel(PlainChannel):
    """The streams of one path. Each counts by itself how far its client has got: what it is told has its own ids."""

    def __init__(self, server: PlainServer, path: str, codec: EventStream, *, max_rooms: int) -> None:
        super().__init__(server, path, codec, max_rooms=max_rooms)
        self._counting: dict[str, Callable[[object], str]] = {}

    def count(self, sid: str, id_of: Callable[[object], str]) -> None:
        """Have `id_of` return the id of each event with a mark, in the order in which a stream is told them."""
        self._counting[sid] = id_of

    def release(self, sid: str) -> Session | None:
        self._counting.pop(sid, None)
        return super().release(sid)

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        if not burst.marks:
            return super().deliver(sids, burst)
        return sum(self._deliver_counted(sid, burst) for sid in sids)

    def _deliver_counted(self, sid: str, burst: Burst) -> int:
        id_of = self._counting.get(sid)
        return super().deliver([sid], burst if id_of is None else numbered(burst, id_of))
