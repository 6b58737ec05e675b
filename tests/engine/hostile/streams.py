"""Rows: event streams, where a client says nothing after its request."""

from realtime import places
from tests.engine.hostile.plain_openings import COOKIE, PROXIED, SOMEWHERE, slow_door
from tests.engine.hostile.table import BODY, HEADERS, Group
from tests.engine.hostile.wire import CLOSED, FOREIGN, GOES_ON, UPGRADE, Stream, dripping, flooding
from tests.engine.hostile.world import EVENTS, World, hang_up
from tests.support import bearer, token, until

OPENINGS = Group("Opening an event stream")
STREAMS = Group("Event streams")
PATHS = (EVENTS, f"/api{EVENTS}")


def answered(name: str, query: str = "", head: str = "", method: str = "GET") -> None:
    """A row about a request that gets no stream, under both paths."""

    @OPENINGS.row(name)
    async def _(world: World) -> str:
        now = world.clock()
        tokens = {"user": token(5, now=now), "ended": token(5, now=now, lifetime=-60)}
        found = {await world.refusal(method, path + query.format(**tokens), head.format(**tokens)) for path in PATHS}
        return " ".join(found)


answered("no token")
answered("a token that is none", "?token=wrong")
answered("a token that has ended", "?token={ended}")
answered("a header that is none, and a token in the query", "?token={user}", "Authorization: Bearer wrong\r\n")
answered("somebody else's `userId`", "?token={user}&userId=6")
answered("a foreign `Origin`", "?token={user}", FOREIGN)
answered("a cookie from a strange page", "", COOKIE.format("{user}") + FOREIGN)
answered(
    "a cookie from a strange page that hides its origin", "", COOKIE.format("{user}") + "Sec-Fetch-Site: cross-site\r\n"
)
answered("HEAD", "?token={user}", method="HEAD")
answered("POST", "", "Authorization: Bearer {user}\r\nContent-Length: 0\r\n", "POST")
answered("PUT", "", "Authorization: Bearer {user}\r\nContent-Length: 0\r\n", "PUT")
answered("DELETE", "", "Authorization: Bearer {user}\r\n", "DELETE")


def opens(name: str, *heads: str, path: str = EVENTS) -> None:
    """A row about odd requests that get a stream all the same."""

    @OPENINGS.row(name)
    async def _(world: World) -> str:
        for head in heads:
            stream = await world.stream(head, path)
            await world.streams_on(stream)
            stream.drop()
            await world.forgotten()
        return GOES_ON


FORMER = ("garbage", "-", "1-", "-1", "0-0", "1-1-1", "1e9-1", "9" * 20 + "-" + "9" * 16, "9" * 21 + "-1", "x" * 7000)
FORGED = ("1.1.1.1", "1.1.1.1.1.1", "0.0.0.0.0", "9" * 19 + ".1" * 4, "1.1.1.1." + "9" * 19, "~~", "~1.1.1.1.1~1")
PLACES = (*FORMER, *FORGED)
opens("a `Last-Event-ID` that is none", *(f"Last-Event-ID: {place}\r\n" for place in (*PLACES, "٣-٣", "\x80\xff")))
opens("a `lastEventId` that is none", "", path=f"{EVENTS}?lastEventId=%00%ff%d9%a3-1")
opens("two `Last-Event-ID`s", "Last-Event-ID: 1-1\r\nLast-Event-ID: 2-2\r\n")
opens("a request for an upgrade", UPGRADE, "Connection: Upgrade\r\nUpgrade: h2c\r\n")
opens("a request that accepts only pages", "Accept: text/html\r\nAccept-Encoding: gzip\r\nRange: bytes=0-10\r\n")
opens("a request with a body", "Content-Length: 0\r\n")


@OPENINGS.row("a request over HTTP/1.0")
async def _(world: World) -> str:
    stream = await world.dial(Stream)
    await stream.request("GET", world.place(EVENTS), version="1.0")
    assert await stream.status() == "200"
    return await world.streams_on(stream)


@OPENINGS.row("a request whose body comes byte by byte", BODY)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.request("GET", world.place(EVENTS), "Content-Length: 1000\r\n")
    async with dripping(wire):
        return f"{await wire.status()}, then {await wire.end()}"


@OPENINGS.row("a request with a body of 1.1 MB")
async def _(world: World) -> str:
    return await world.refusal("GET", world.place(EVENTS), body=b" " * 1_100_000)


@OPENINGS.row("garbage right behind a request")
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send(f"GET {world.place(EVENTS)} HTTP/1.1\r\nHost: localhost\r\n\r\nGARBAGE\r\n\r\n")
    return f"{await wire.status()}, then {await wire.end()}"


@OPENINGS.row("half of a request", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send(f"GET {world.place(EVENTS)} HTTP/1.1\r\nHost: loc")
    return await wire.end()


@OPENINGS.row("too many streams from one address", handshakes_per_minute_per_ip=2, **PROXIED)
async def _(world: World) -> str:
    for _ in range(2):
        (await world.stream(SOMEWHERE)).drop()
    return await world.refusal("GET", world.place(EVENTS), SOMEWHERE)


@OPENINGS.row("too many refused tokens from one address", failed_logins_per_minute_per_ip=2, **PROXIED)
async def _(world: World) -> str:
    for _ in range(2):
        assert await world.refusal("GET", f"{EVENTS}?token=wrong", SOMEWHERE) == "401"
    return await world.refusal("GET", world.place(EVENTS), SOMEWHERE)


@OPENINGS.row("more connections than an address may have", connections_per_ip=2, **PROXIED)
async def _(world: World) -> str:
    first, second = [await world.stream(SOMEWHERE) for _ in range(2)]
    refused = {await world.refusal("GET", world.place(path), SOMEWHERE) for path in PATHS}
    await world.streams_on(second)
    first.drop()
    await until(lambda: world.others() == 1, what="the end of one stream")
    await world.streams_on(await world.stream(SOMEWHERE))
    return f"{' '.join(refused)}, the others go on"


@OPENINGS.row("streams that are cut in the middle of opening")
async def _(world: World) -> str:
    async with slow_door(world) as door:
        for n in range(12):
            deaf = await world.deaf(f"GET {world.place(EVENTS)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await door.knocked(n + 1)
            hang_up(deaf, reset=n % 3 > 0)
    return "nothing"


@OPENINGS.row("streams that are cut when they have begun")
async def _(world: World) -> str:
    for n in range(12):
        deaf = await world.deaf(f"GET {world.place(EVENTS)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        hang_up(deaf, reset=n % 3 > 0)
    return "nothing"


# --- streams that have begun ---


@STREAMS.row("a client that says something")
async def _(world: World) -> str:
    stream = await world.stream()
    await stream.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGARBAGE\x00\xff")
    return await world.streams_on(stream)


@STREAMS.row("requests right behind its own")
async def _(world: World) -> str:
    stream = await world.dial(Stream)
    behind = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
    await stream.send(f"GET {world.place(EVENTS)} HTTP/1.1\r\nHost: localhost\r\n\r\n{behind}")
    assert await stream.status() == "200"
    return await world.streams_on(stream)


@STREAMS.row("a client that says more than 64 KB")
async def _(world: World) -> str:
    stream = await world.stream()
    async with flooding(stream, b"x" * 10_000):
        return await stream.end()


@STREAMS.row("a client that ends its side")
async def _(world: World) -> str:
    stream = await world.stream()
    stream.writer.write_eof()
    return await stream.end()


@STREAMS.row("a client that stays when its token has ended")
async def _(world: World) -> str:
    stream = await world.stream()
    world.clock.advance(4000.0)
    return await stream.end()


@STREAMS.row("a client that reads nothing of 60 MB", stall=True)
async def _(world: World) -> str:
    await world.deaf_plain(EVENTS)
    await world.fill(world.plain_outflow())
    return CLOSED


@STREAMS.row("a client that reads nothing but what keeps it alive", stall=True, ping_interval=0.05)
async def _(world: World) -> str:
    world.narrow()
    await world.deaf_plain(EVENTS)
    for _ in range(5):
        world.publish("x" * 10_000)
    await until(lambda: world.others() == 0, what="the end of the stream")
    return CLOSED


@STREAMS.row("a client that reads nothing of what it missed", stall=True)
async def _(world: World) -> str:
    by = {**bearer(1, "admin", now=world.clock()), "Connection": "close"}
    place = places.encode(places.Cursor(await world.running.parts.store.place("user:5", now=world.clock())))
    row = {"userId": 5, "title": "Tea", "message": "x" * 5000, "metadata": {"x": "x" * 8000}}
    for _ in range(30):
        status, body = await world.running.call("POST", "/api/notifications", by=by, json=row)
        assert status == 201, body
    world.narrow()
    await world.deaf_plain(f"{EVENTS}", f"Last-Event-ID: {place}\r\n")
    await until(lambda: world.others() == 0, what="the end of the stream")
    return CLOSED


@STREAMS.row("a hundred streams of one user")
async def _(world: World) -> str:
    streams = [await world.stream() for _ in range(100)]
    world.publish("news")
    for stream in streams:
        assert await stream.event() == {"type": "news", "data": "news"}
    return GOES_ON
