"""What one client sends is handled in order, one thing at a time; what it gets comes in order; nobody waits for it."""

import asyncio
import contextvars
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError as Refusal

from realtime.engine import RealtimeServer
from realtime.engine.frames import Burst
from realtime.engine.manager import MAX_EARLY
from realtime.engine.ordered import MAX_HELD
from realtime.engine.websocket import SLICE
from tests.engine.protocol import LIMIT, Frames, build, socketio_server, until
from tests.engine.wires import Member, TcpClient, closes, masked, session_of, turns


class Steps:
    """Handlers that wait for the test: `go` lets one of them on."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._gates: dict[Any, asyncio.Event] = {}

    def gate(self, name: Any) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    def go(self, *names: Any) -> None:
        for name in names:
            self.gate(name).set()

    async def slow(self, sid: str, name: Any) -> Any:
        self.log.append(f"{name} begins")
        await self.gate(name).wait()
        self.log.append(f"{name} ends")
        return name

    async def quick(self, sid: str, name: Any) -> Any:
        self.log.append(str(name))
        return name


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def server(steps: Steps) -> RealtimeServer:
    """A server with the events `slow` and `quick`, that notes who leaves. Anybody may connect."""
    server: RealtimeServer = build()
    server.on("slow", steps.slow)
    server.on("quick", steps.quick)

    async def disconnect(sid: str) -> None:
        steps.log.append("disconnect")

    server.on("disconnect", disconnect)
    return server


def event(name: str, *args: Any, id: int | str = "") -> str:
    return f"42{id}{json.dumps([name, *args])}"


# --- one at a time ---


async def test_events_wait_for_the_one_that_runs(server: RealtimeServer, steps: Steps) -> None:
    member = Member(server).join()
    member.say(event("slow", "a"), event("slow", "b"), event("quick", "c"))
    await turns(5)
    assert steps.log == ["a begins"]
    member.say(event("quick", "d"))
    steps.go("b")
    await turns(5)
    assert steps.log == ["a begins"]
    steps.go("a")
    await turns(5)
    assert steps.log == ["a begins", "a ends", "b begins", "b ends", "c", "d"]


async def test_answers_come_in_the_order_of_the_questions(server: RealtimeServer, steps: Steps) -> None:
    member = Member(server).join()
    member.say(*(event("slow" if id % 3 == 0 else "quick", id, id=id) for id in range(30)))
    for id in range(30):
        steps.go(id)
        await turns(3)
    await until(lambda: sum(text.startswith("43") for text in member.heard) == 30)
    assert [text for text in member.heard if text.startswith("43")] == [f"43{id}[{id}]" for id in range(30)]


async def test_events_of_different_namespaces_of_one_client_share_the_order(
    server: RealtimeServer, steps: Steps
) -> None:
    server.on("quick", steps.quick, namespace="/other")
    member = Member(server).join().join("/other")
    member.say(event("slow", "a"), '42/other,["quick","b"]')
    await turns(5)
    assert steps.log == ["a begins"]
    steps.go("a")
    await turns(5)
    assert steps.log == ["a begins", "a ends", "b"]


async def test_events_of_different_clients_do_not_wait_for_each_other(server: RealtimeServer, steps: Steps) -> None:
    one, other = Member(server).join(), Member(server).join()
    one.say(event("slow", "a"))
    other.say(event("quick", "b"))
    assert steps.log == ["a begins", "b"]
    steps.go("a")
    await turns(3)


async def test_an_event_behind_a_slow_connect_is_handled_after_it(server: RealtimeServer, steps: Steps) -> None:
    async def connect(sid: str, environ: object) -> None:
        await steps.slow(sid, "connect")

    server.on("connect", connect)
    member = Member(server)
    member.say("40", event("quick", "a", id=1))
    await turns(5)
    assert steps.log == ["connect begins"]
    steps.go("connect")
    await until(lambda: '431["a"]' in member.heard)
    assert steps.log == ["connect begins", "connect ends", "a"]
    answers = [text for text in member.heard if text[:2] in ("40", "43")]
    assert answers[0].startswith("40")


async def test_an_event_whose_handler_fails_lets_the_next_one_run(server: RealtimeServer, steps: Steps) -> None:
    async def fail_late(sid: str) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("on purpose")

    def fail(sid: str) -> None:
        raise RuntimeError("on purpose")

    server.on("fail_late", fail_late)
    server.on("fail", fail)
    member = Member(server).join()
    member.say(event("fail_late", id=1), event("fail", id=2), event("fail_late"), event("quick", "a", id=3))
    await until(lambda: '433["a"]' in member.heard)
    assert [text[:3] for text in member.heard if text.startswith("43")] == ["431", "432", "433"]


@pytest.mark.parametrize("held", [1, MAX_HELD + 5])
async def test_an_answer_that_cannot_be_sent_lets_the_next_event_run(
    server: RealtimeServer, steps: Steps, held: int
) -> None:
    async def unanswerable(sid: str) -> object:
        return object()

    server.on("unanswerable", unanswerable)
    member = Member(server).join()
    quick = [event("quick", number) for number in range(held - 1)]
    member.say(event("slow", "a"), *quick, event("unanswerable", id=1), event("quick", "b", id=2))
    steps.go("a")
    await until(lambda: '432["b"]' in member.heard)
    later = Member(server).join()  # and everybody else goes on, too
    later.wire.hang_up()
    await until(lambda: "disconnect" in steps.log)


# --- no needless tasks ---


def counting_tasks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list to which every Task of the running loop is added as it is made."""
    loop = asyncio.get_running_loop()
    made: list[object] = []
    create = loop.create_task

    def create_task(work: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        task = create(work, **more)
        made.append(task)
        return task

    monkeypatch.setattr(loop, "create_task", create_task)
    return made


async def test_handlers_that_do_not_wait_make_no_task(
    server: RealtimeServer, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    async def connect(sid: str, environ: object) -> None:
        await server.emit("hello", to=sid)

    server.on("connect", connect)
    server.on("plain", lambda sid: "plain")
    tasks = asyncio.all_tasks()
    made = counting_tasks(monkeypatch)
    member = Member(server).join()
    for number in range(100):
        member.say(event("quick", number, id=number), event("plain"))
        await turns(1)
    member.wire.hang_up()
    await until(lambda: steps.log[-1] == "disconnect")
    assert made == []
    assert asyncio.all_tasks() == tasks


async def test_a_handler_that_waits_makes_one_task_that_ends(
    server: RealtimeServer, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    made = counting_tasks(monkeypatch)
    member = Member(server).join()
    member.say(event("slow", "a"))
    await turns(3)
    assert len(made) == 1
    steps.go("a")
    await turns(3)
    assert all(isinstance(task, asyncio.Task) and task.done() for task in made)


# --- bounds ---


async def test_a_client_is_not_read_while_too_much_waits_and_nothing_is_lost(
    server: RealtimeServer, steps: Steps
) -> None:
    total = 20_000
    async with socketio_server(server) as endpoint, await TcpClient.open(endpoint) as client:
        session = session_of(server, await client.connect())
        assert session.ws is not None
        transport: Any = session.ws.transport
        await client.send(masked(event("slow", "a")))
        frames = b"".join(masked(event("quick", number)) for number in range(total))
        sending = asyncio.create_task(client.send(frames))
        await until(lambda: session.full)
        await turns(20)
        assert not transport.is_reading()
        waiting = len(session._held or ())
        assert MAX_HELD <= waiting <= MAX_HELD + 1000
        await turns(20)
        assert len(session._held or ()) == waiting
        assert steps.log == ["a begins"]
        steps.go("a")
        await sending
        await until(lambda: len(steps.log) == total + 2)
        assert steps.log[2:] == [str(number) for number in range(total)]
        assert transport.is_reading()


async def test_of_a_flood_no_more_is_held_at_each_wait(server: RealtimeServer, steps: Steps) -> None:
    """However often the handlers wait in between, what is held stays bounded."""
    most = 0
    frame = masked(event("nap"))

    async def nap(sid: str) -> None:
        nonlocal most
        most = max(most, len(session._held or ()))
        await asyncio.sleep(0)

    server.on("nap", nap)
    member = Member(server).join()
    session = member.session
    member.wire.say(*[frame] * 20_000)
    member.say(event("quick", "end"))
    await until(lambda: steps.log == ["end"])
    assert most <= MAX_HELD + SLICE // len(frame) + 1


async def test_of_a_post_the_rest_waits_until_there_is_room(server: RealtimeServer, steps: Steps) -> None:
    async with socketio_server(server) as endpoint:
        poller = await endpoint.poller()
        await poller.send("40", event("slow", "a"))
        posting = asyncio.create_task(poller.send(*(event("quick", number) for number in range(MAX_HELD + 10))))
        session = server.eio.sockets[poller.sid]
        await until(lambda: session.full)
        await endpoint.settle()
        assert not posting.done()
        steps.go("a")
        await posting
        assert steps.log[2:] == [str(number) for number in range(MAX_HELD + 10)]


# --- questions to the client ---


async def answer(frames: Frames, *values: Any) -> list[Any]:
    """Answer the next question; return it."""
    text = await frames.text()
    start = text.index("[")
    await frames.send(f"43{text[2:start]}{json.dumps(values)}")
    question: list[Any] = json.loads(text[start:])
    return question


async def test_a_handler_can_ask_its_own_client(server: RealtimeServer, steps: Steps) -> None:
    async def ask(sid: str) -> Any:
        return await server.call("which?", {"of": 2}, to=sid, timeout=LIMIT)

    server.on("ask", ask)
    async with socketio_server(server) as endpoint:
        frames = await endpoint.joined()
        await frames.send(event("ask", id=1), event("quick", "later", id=2))
        assert await answer(frames, "this one") == ["which?", {"of": 2}]
        assert await frames.take(2) == ['431["this one"]', '432["later"]']


async def test_what_follows_a_connect_can_ask_the_client(server: RealtimeServer) -> None:
    answers: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def follow_up(sid: str) -> None:
        answers.append(await server.call("who?", to=sid, timeout=LIMIT))

    async def connect(sid: str, environ: object) -> None:
        tasks.append(asyncio.create_task(follow_up(sid)))

    server.on("connect", connect)
    async with socketio_server(server) as endpoint:
        frames = await endpoint.joined()
        assert await answer(frames, "me") == ["who?"]
        await asyncio.gather(*tasks)
    assert answers == ["me"]


async def test_a_question_asked_by_the_connect_handler_itself_follows_the_answer(server: RealtimeServer) -> None:
    """It is sent only with the answer, so the handler must not wait for it; asking in the background works."""
    asked: list[Any] = []

    async def connect(sid: str, environ: object) -> None:
        await server.emit("who?", to=sid, callback=lambda *args: asked.append(args))

    server.on("connect", connect)
    async with socketio_server(server) as endpoint:
        frames = await endpoint.joined()
        assert await answer(frames, "me") == ["who?"]
        await until(lambda: asked == [("me",)])


# --- the end ---


ENDS = [
    pytest.param(lambda member: member.say("1"), id="CLOSE"),
    pytest.param(lambda member: member.say("9"), id="broken"),
    pytest.param(lambda member: member.wire.hang_up(), id="lost"),
    pytest.param(lambda member: member.connection.cut("no progress"), id="cut"),
    pytest.param(lambda member: member.wire.say(masked(b"\x03\xe8", 0x8)), id="Close frame"),
]


@pytest.mark.parametrize("end", ENDS)
async def test_the_end_drops_what_is_queued_and_lets_what_runs_end(
    server: RealtimeServer, steps: Steps, end: Callable[[Member], Any]
) -> None:
    member = Member(server).join()
    member.say(event("slow", "a"), event("quick", "b"), event("quick", "c"))
    end(member)
    await turns(5)
    steps.go("a")
    await until(lambda: len(steps.log) == 3)
    await turns(10)
    assert sorted(steps.log) == ["a begins", "a ends", "disconnect"]
    assert steps.log[0] == "a begins"


async def test_a_disconnect_comes_after_the_events_before_it(server: RealtimeServer, steps: Steps) -> None:
    member = Member(server).join()
    member.say(event("slow", "a"), event("quick", "b"), "41", event("quick", "c"))
    steps.go("a")
    await turns(10)
    assert steps.log == ["a begins", "a ends", "b", "disconnect"]


async def test_nothing_queued_runs_after_the_server_has_disconnected_the_client(
    server: RealtimeServer, steps: Steps
) -> None:
    async def kick(sid: str) -> None:
        await server.disconnect(sid)
        steps.log.append("kicked")

    server.on("kick", kick)
    member = Member(server).join()
    member.say(event("slow", "a"), event("kick"), event("quick", "b"))
    steps.go("a")
    await turns(10)
    assert steps.log == ["a begins", "a ends", "disconnect", "kicked"]


async def test_nothing_queued_runs_after_the_session_ended_in_its_turn(server: RealtimeServer, steps: Steps) -> None:
    """Between the end of a session and its disconnect handler the connection is still known."""

    def flood(sid: str) -> None:
        member.connection.cut("buffer full")

    server.on("flood", flood)
    member = Member(server).join()
    member.say(event("slow", "a"), event("flood"), event("quick", "b"), event("quick", "c"))
    steps.go("a")
    await turns(10)
    assert steps.log == ["a begins", "a ends", "disconnect"]


async def test_no_namespace_is_entered_after_the_end(server: RealtimeServer, steps: Steps) -> None:
    async def connect(sid: str, environ: object) -> None:
        steps.log.append("connect")

    server.on("connect", connect, namespace="/other")
    member = Member(server).join()
    member.say(event("slow", "a"), "40/other,")
    member.wire.hang_up()
    steps.go("a")
    await turns(10)
    assert "connect" not in steps.log
    assert server.manager.eio_of == {}


# --- connect ---


async def test_what_a_connect_handler_emits_follows_the_answer(server: RealtimeServer) -> None:
    async def connect(sid: str, environ: object) -> None:
        await server.emit("one", 1, to=sid)
        await asyncio.sleep(0)
        await server.emit("two", b"2", to=sid)
        await asyncio.sleep(0)
        await server.emit("three", 3, to=sid)

    server.on("connect", connect)
    async with socketio_server(server) as endpoint:
        frames = await endpoint.joined()  # which has read the answer first
        assert await frames.take(4) == [
            '42["one",1]',
            '451-["two",{"_placeholder":true,"num":0}]',
            b"2",
            '42["three",3]',
        ]


async def test_what_a_polling_client_is_sent_by_its_connect_handler_follows_the_answer(server: RealtimeServer) -> None:
    async def connect(sid: str, environ: object) -> None:
        await server.emit("one", 1, to=sid)

    server.on("connect", connect)
    async with socketio_server(server) as endpoint:
        poller = await endpoint.poller()
        await poller.send("40")
        first, second = await poller.receive(2)
        assert first.startswith("40")
        assert second == '42["one",1]'


@pytest.mark.parametrize("refuses", ["exception", "false", "bug"])
async def test_who_is_refused_gets_nothing_else(server: RealtimeServer, refuses: str) -> None:
    async def connect(sid: str, environ: object) -> bool:
        await server.emit("secret", 1, to=sid)
        await asyncio.sleep(0)
        await server.emit("secret", 2, to=sid)
        if refuses == "exception":
            raise Refusal("no")
        if refuses == "bug":
            raise RuntimeError("on purpose")
        return False

    server.on("connect", connect)
    async with socketio_server(server) as endpoint:
        frames = await endpoint.websocket()
        await frames.send("40")
        assert (await frames.text()).startswith("44{")
        await frames.send("2probe")  # which closes
        assert [frame for frame in await frames.until_closed() if "secret" in str(frame)] == []
    assert server.manager.eio_of == {}
    assert server.manager.early == {}


async def test_an_event_for_a_room_that_the_handler_entered_follows_the_answer(
    server: RealtimeServer, steps: Steps
) -> None:
    async def connect(sid: str, environ: object) -> None:
        server.manager.admit(sid, "/").enter(sid, "room")
        await steps.slow(sid, "connect")

    server.on("connect", connect)
    member = Member(server)
    member.say("40")
    await server.emit("news", 1, to="room")
    steps.go("connect")
    await until(lambda: '42["news",1]' in member.heard)
    assert [text[:2] for text in member.heard if text[:2] in ("40", "42")] == ["40", "42"]


async def joining(server: RealtimeServer, steps: Steps) -> Member:
    """Return a member that was admitted to a room and whose CONNECT is not answered before `connect` may go on."""

    async def connect(sid: str, environ: object) -> None:
        server.manager.admit(sid, "/").enter(sid, "room")
        await steps.slow(sid, "connect")

    server.on("connect", connect)
    member = Member(server)
    member.say("40")
    await turns(2)
    [member.sid] = server.manager.membership("/").members("room")
    return member


async def test_what_is_delivered_between_admission_and_the_answer_follows_it_once(
    server: RealtimeServer, steps: Steps
) -> None:
    other = Member(server).join()
    member = await joining(server, steps)
    sids = [member.sid, other.sid]
    assert server.deliver(sids, Burst.encode("/", "news", 1)) == 2
    await server.emit("news", 2, to=sids)
    assert server.deliver([member.sid], Burst.encode("/", "news", 3)) == 1
    await server.emit("news", 4, to="room")
    await turns(3)
    assert not any(text.startswith("4") for text in member.heard)
    assert other.events() == [["news", 1], ["news", 2]]
    steps.go("connect")
    await until(lambda: len(member.events()) == 4)
    server.deliver([member.sid], Burst.encode("/", "news", 5))
    await until(lambda: len(member.events()) == 5)
    assert [text[:2] for text in member.heard[1:]] == ["40"] + ["42"] * 5
    assert member.events() == [["news", number] for number in range(1, 6)]
    assert server.manager.early == {}


@pytest.mark.parametrize("size", [1, 50_000])
async def test_what_is_kept_for_one_who_joins_is_bounded(server: RealtimeServer, steps: Steps, size: int) -> None:
    member = await joining(server, steps)
    burst = Burst.encode("/", "news", "x" * size)
    taken = sum(server.deliver([member.sid], burst) for _ in range(2 * MAX_EARLY))
    assert taken == min(MAX_EARLY, (1 << 19) // len(burst.frames))
    steps.go("connect")
    await until(lambda: len(member.events()) == taken)
    assert not member.session.ending


async def test_for_one_who_leaves_while_it_joins_nothing_stays(server: RealtimeServer, steps: Steps) -> None:
    member = await joining(server, steps)
    server.deliver([member.sid], Burst.encode("/", "news", 1))
    member.wire.hang_up()
    await turns(3)
    assert server.deliver([member.sid], Burst.encode("/", "news", 1)) == 0
    steps.go("connect")
    await until(lambda: not server.manager.eio_of)
    assert server.manager.early == {}
    assert server.deliver([member.sid], Burst.encode("/", "news", 1)) == 0


# --- heartbeats ---


async def test_a_client_whose_handler_hangs_is_pinged_and_not_cut(steps: Steps) -> None:
    server: RealtimeServer = build(ping_interval=0.02, ping_timeout=0.2)
    server.on("slow", steps.slow)
    server.on("quick", steps.quick)
    async with socketio_server(server) as endpoint:
        frames = await endpoint.joined()
        await frames.send(event("slow", "a"), event("quick", "b", id=1))
        for _ in range(20):
            assert await frames.text() == "2"
            await frames.send("3")
        steps.go("a")
        while (text := await frames.text()) == "2":
            await frames.send("3")
        assert text == '431["b"]'


async def test_a_client_that_cannot_be_read_is_not_taken_for_dead(steps: Steps) -> None:
    """Its pong waits behind what the server does not read."""
    server: RealtimeServer = build(ping_interval=0.02, ping_timeout=0.02)
    server.on("slow", steps.slow)
    server.on("quick", steps.quick)
    member = Member(server).join()
    member.say(event("slow", "a"), *(event("quick", number) for number in range(MAX_HELD)))
    checks = 0
    check = server.eio._pongs._meet

    def counting(item: tuple[str, int]) -> None:
        nonlocal checks
        checks += 1
        check(item)

    server.eio._pongs._meet = counting
    await until(lambda: checks > 5)
    assert not member.session.ending
    member.say("3")
    steps.go("a")
    await until(lambda: len(steps.log) == MAX_HELD + 2)
    assert not member.session.ending
    assert closes(member.wire.written) == []


# --- context ---

PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="nowhere")


async def test_what_one_event_puts_into_the_context_is_not_there_for_the_next(
    server: RealtimeServer, steps: Steps
) -> None:
    async def put(sid: str, place: str, wait: bool) -> str:
        found = PLACE.get()
        PLACE.set(place)
        if wait:
            await asyncio.sleep(0)
            assert PLACE.get() == place
        return found

    server.on("put", put)
    server.on("put_plainly", lambda sid, place: PLACE.get())
    member = Member(server).join()
    for id, wait in enumerate([False, True, False, True, True]):
        member.say(event("put", f"place {id}", wait, id=id))
    member.say(event("put_plainly", "x", id=5))
    await until(lambda: any(text.startswith("435") for text in member.heard))
    answers = [text[3:] for text in member.heard if text.startswith("43")]
    assert answers == ['["nowhere"]'] * 6
    assert PLACE.get() == "nowhere"


async def test_a_burst_written_by_a_handler_comes_before_its_answer(server: RealtimeServer) -> None:
    async def work(sid: str) -> str:
        server.deliver([sid], Burst.encode("/", "one", 1))
        await asyncio.sleep(0)
        await server.emit("two", 2, to=sid)
        return "done"

    server.on("work", work)
    member = Member(server).join()
    member.say(event("work", id=1))
    await until(lambda: '431["done"]' in member.heard)
    assert member.heard[-3:] == ['42["one",1]', '42["two",2]', '431["done"]']
