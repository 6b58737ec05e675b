"""The authenticated plain connections of one path."""

from collections.abc import Iterable

from realtime.engine.channel import Channel
from realtime.engine.codecs import Codec
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

    def encode(self, event: str, payload: object, mark: str | None = None) -> Burst:
        return self._codec.encode(event, payload, mark)

    def template(self, event: str, payload: object, mark: str | None = None) -> Template:
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
