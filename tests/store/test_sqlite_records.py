"""What is SQLite's own about requests, users, receipts and audits: other processes, other schemas, many rows."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from realtime.models import (
    Content,
    MembershipChange,
    Principal,
    Receipt,
    Replay,
    Seen,
    Stage,
    Sweep,
    Target,
    Trace,
)
from realtime.services.recount import naive_unread
from realtime.store import sqlite_audit, sqlite_schema
from realtime.store.base import CLAIM_SECONDS
from realtime.store.sqlite import SqliteStore
from realtime.store.sqlite_receipts import RECIPIENTS, SENT_TO

ROOT = Path(__file__).parents[2]
ANN, BOB, CAT = "user:1", "user:2", "user:3"
HELLO = Content("info", "Hello", "Hello there")
TO_ALL = Target(audience="all")
LATE = Target(audience="all", late_join=True)


@asynccontextmanager
async def opened(path: Path, *, exclusive: bool = True) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, exclusive=exclusive)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path / "test.db") as store:
        yield store


async def add(store: SqliteStore, target: Target, *, sender: Principal | None = None, now: float = 1.0) -> int:
    (stored,) = await store.add([target], HELLO, sender=sender, now=now)
    return stored.notification.id


def seen(id: str, role: str = "user", **more: str) -> Seen:
    return Seen(id, id, role, None, None, 1.0, **more)


# --- requests ---


async def test_a_claim_holds_for_every_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "test.db") as one, opened(tmp_path / "test.db", exclusive=False) as other:
        claims = [store.begin_request(ANN, "key", "f", now=1.0) for store in (one, other) * 5]
        assert sorted(claim is None for claim in await asyncio.gather(*claims)) == [False] * 9 + [True]
        assert await other.begin_request(ANN, "key", "f", now=CLAIM_SECONDS) == Replay("f", None, b"")
        assert await other.begin_request(ANN, "key", "f", now=1.0 + CLAIM_SECONDS) is None


async def test_an_answer_that_is_late_does_not_vanish_with_the_claim(store: SqliteStore) -> None:
    await store.begin_request(ANN, "key", "f", now=1.0)
    await store.begin_request(ANN, "key", "f", now=2.0 + CLAIM_SECONDS)
    await store.finish_request(ANN, "key", status=201, body=b"{}")
    await store.forget_request(ANN, "key")  # the first one has failed
    assert await store.begin_request(ANN, "key", "f", now=3.0 + CLAIM_SECONDS) == Replay("f", 201, b"{}")


async def test_the_claims_of_a_killed_server_are_free_when_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.serve", str(path), "0", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    async with opened(path, exclusive=False) as tool:  # writes what the server would
        await tool.begin_request(ANN, "running", "f", now=1.0)
        await tool.begin_request(ANN, "done", "f", now=1.0)
        await tool.finish_request(ANN, "done", status=200, body=b"{}")
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert await tool.begin_request(ANN, "running", "f", now=2.0) == Replay("f", None, b"")
    async with opened(path, exclusive=False) as tool:  # is not the server
        assert await tool.begin_request(ANN, "running", "f", now=2.0) == Replay("f", None, b"")
    async with opened(path) as server:
        assert await server.begin_request(ANN, "running", "f", now=2.0) is None
        assert await server.begin_request(ANN, "done", "f", now=2.0) == Replay("f", 200, b"{}")


async def test_requests_of_an_older_database_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.db"
    with monkeypatch.context() as old:
        old.setattr(sqlite_schema, "VERSION", 4)
        async with opened(path):
            pass
    db = sqlite3.connect(path)
    db.execute("INSERT INTO request VALUES ('user:1', 'done', 'f', 200, x'7b7d', 'boot', 1000.0)")
    db.execute("INSERT INTO request VALUES ('user:1', 'running', 'f', NULL, x'', 'boot', 1000.0)")
    db.commit()
    db.close()
    async with opened(path, exclusive=False) as store:
        assert await store.begin_request(ANN, "done", "f", now=2.0) == Replay("f", 200, b"{}")
        assert await store.begin_request(ANN, "running", "f", now=2.0) is None


# --- import ---


async def test_an_import_is_one_transaction(store: SqliteStore) -> None:
    before = store.commits
    assert await store.import_users([seen(str(id)) for id in range(2500)], audiences={}, now=1.0) == (2500, 0)
    assert store.commits == before + 1
    assert len(await store.readers("all")) == len(await store.readers("role:user")) == 2500


async def test_a_user_that_an_import_has_twice_is_one(store: SqliteStore) -> None:
    first = [replace(seen("1"), name="Ann"), *(seen(f"x{id}") for id in range(1500))]
    assert await store.import_users([*first, seen("1", "admin")], audiences={}, now=1.0) == (1501, 0)
    user = await store.user("1")
    assert user is not None
    assert (user.name, user.role) == ("Ann", "admin")
    assert await store.readers("role:user") == sorted(f"user:x{id}" for id in range(1500))


async def test_a_role_has_its_audiences(store: SqliteStore) -> None:
    audiences = {"admin": ["room:a", "room:b"], "manager": ["room:b"]}
    for role, held in (("admin", ["room:a", "room:b"]), ("manager", ["room:b"]), ("user", [])):
        await store.import_users([seen("1", role)], audiences=audiences, now=1.0)
        assert await store.audiences_of(ANN, "room:") == held


async def test_a_role_that_was_known_before_has_its_audiences_too(store: SqliteStore) -> None:
    await store.touch_user(seen("1", "admin"), now=1.0)
    assert await store.import_users([seen("1", "admin")], audiences={"admin": ["room:a"]}, now=2.0) == (0, 0)
    assert await store.readers("room:a") == [ANN]


async def test_locale_and_time_zone_are_kept_until_others_come(store: SqliteStore) -> None:
    await store.import_users([seen("1", locale="es", tz="Europe/Madrid")], audiences={}, now=1.0)
    await store.touch_user(seen("1"), now=2.0)
    user = await store.user("1")
    assert user is not None
    assert (user.locale, user.tz) == ("es", "Europe/Madrid")
    assert (await store.touch_user(seen("1", locale="en"), now=3.0)).locale == "en"
    assert await store.set_user("1", role=None, name="Ann", now=4.0) == await store.user("1")


# --- receipts ---


def receipt(id: int, stage: Stage, reader: Principal = ANN, *, at: float = 2.0, **more: str) -> Receipt:
    return Receipt(id, stage, reader, at, **more)


async def traced(store: SqliteStore, id: int, *, limit: int = 100) -> Trace:
    trace = await store.trace(id, limit=limit, now=9.0)
    assert trace is not None
    return trace


async def test_of_one_stage_at_one_device_the_first_counts(store: SqliteStore) -> None:
    id = await add(store, Target(recipient=ANN))
    first = [receipt(id, "sent", device="a"), receipt(id, "sent", device="b", at=3.0), receipt(id, "sent", at=4.0)]
    await store.add_receipts([*first, receipt(id, "sent", device="a", at=5.0), receipt(id, "sent", at=5.0)])
    await store.add_receipts([receipt(id, "sent", device="b", at=1.0), receipt(id, "read", device="b", at=6.0)])
    trace = await traced(store, id)
    assert trace.receipts == (*first, receipt(id, "read", device="b", at=6.0))
    assert (trace.recipients, trace.sent, trace.read) == (1, 1, 0)
    assert (await traced(store, id, limit=2)).receipts == tuple(first[:2])


async def test_a_trace_counts_whom_a_broadcast_is_for(store: SqliteStore) -> None:
    for reader in (ANN, BOB, CAT):
        await store.open_membership(reader, "all", now=1.0)
    id = await add(store, Target(audience="all", excluded=frozenset({CAT})))
    await store.close_membership(ANN, "all", now=1.0)
    await store.open_membership("user:4", "all", now=1.0)
    await store.add_receipts([receipt(id, "sent", ANN), receipt(id, "sent", BOB), receipt(id, "sent", BOB, device="b")])
    assert (await traced(store, id)).recipients == 2
    assert ((await traced(store, id)).sent, (await traced(store, id)).read) == (2, 0)
    await store.set_read(BOB, id, True, now=2.0)
    assert (await traced(store, id)).read == 1
    await store.drop_membership(ANN, "all")
    assert (await traced(store, id)).recipients == 1
    await store.retract(id, now=3.0)
    assert (await traced(store, id)).retracted_at == 3.0


async def test_a_trace_counts_what_cursors_say_unless_a_mark_says_otherwise(store: SqliteStore) -> None:
    for reader in (ANN, BOB, CAT):
        await store.open_membership(reader, "all", now=1.0)
    ids = [await add(store, target) for target in (TO_ALL, LATE, TO_ALL)]
    for reader in (ANN, BOB):
        await store.mark_all_read(reader, up_to=None, now=2.0)
    await store.set_read(BOB, ids[0], False, now=3.0)
    assert [(await traced(store, id)).read for id in ids] == [1, 2, 2]


async def test_late_comers_count_for_what_they_can_see(store: SqliteStore) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ordinary, late = await add(store, TO_ALL), await add(store, LATE)
    await store.close_membership(ANN, "all", now=1.0)
    await store.open_membership(BOB, "all", now=1.0)
    assert [(await traced(store, id)).recipients for id in (ordinary, late)] == [1, 2]
    await store.open_membership(ANN, "all", now=1.0)
    assert [(await traced(store, id)).recipients for id in (ordinary, late)] == [1, 2]


async def test_two_hundred_thousand_recipients_are_counted_in_one_go(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    """What makes it quick: no reader is looked for in a table from end to end."""
    plan = [row[3] for row in outside.execute(f"EXPLAIN QUERY PLAN {RECIPIENTS}", {"id": 1})]
    plan += [row[3] for row in outside.execute(f"EXPLAIN QUERY PLAN {SENT_TO}", (1,))]
    tables = ("membership", "receipt", "read_cursor", "broadcast_state", "log")
    assert [step for step in plan if step.startswith("SCAN") and step.split()[1] in (*tables, "m", "o", "c", "s")] == []


async def test_what_was_swept_is_known_no_more(store: SqliteStore) -> None:
    (stored,) = await store.add([TO_ALL], replace(HELLO, expires_at=5.0), sender=None, now=1.0)
    assert (await traced(store, stored.notification.id)).notification.content.expires_at == 5.0
    await store.sweep(now=6.0)
    assert await store.trace(stored.notification.id, limit=1, now=6.0) is None
    for id in (0, -1, 2**63, 999):
        assert await store.trace(id, limit=1, now=6.0) is None


# --- audits ---


async def test_a_sweep_is_noted_with_what_it_removed_in_all_its_portions(store: SqliteStore) -> None:
    ending = replace(HELLO, expires_at=5.0)
    await store.add([Target(recipient=ANN)] * 1200, ending, sender=None, now=1.0)
    removed = await store.sweep(now=6.0)
    assert removed["expired"] == 1200
    assert await store.sweep(now=7.0) == {}
    assert await store.sweeps(10) == [Sweep(6.0, removed)]


async def test_the_newest_sweeps_are_kept(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_audit, "SWEEPS_KEPT", 2)
    for now in (10.0, 20.0, 30.0):
        await store.add([Target(recipient=ANN)], replace(HELLO, expires_at=now), sender=None, now=1.0)
        await store.sweep(now=now)
    assert [sweep.at for sweep in await store.sweeps(10)] == [30.0, 20.0]
    assert [sweep.at for sweep in await store.sweeps(1)] == [30.0]


async def test_readers_are_found_by_anything_that_they_have(store: SqliteStore) -> None:
    await add(store, Target(recipient=CAT))
    store.change_memberships([MembershipChange(ANN, "all", open=True)], now=1.0)
    assert await store.readers_after("", 10) == [ANN, CAT]
    assert await store.readers_after("", 1) == [ANN]
    assert await store.readers_after(ANN, 10) == [CAT]
    assert await store.readers_after(CAT, 10) == []


async def test_the_facts_of_a_reader_prove_the_count(store: SqliteStore) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    direct = [await add(store, Target(recipient=ANN)) for _ in range(4)]
    broadcasts = [await add(store, target) for target in (TO_ALL, LATE, TO_ALL, TO_ALL)]
    await store.mark_all_read(ANN, up_to=broadcasts[0], now=2.0)
    await store.set_read(ANN, direct[0], False, now=2.0)
    await store.set_archived(ANN, broadcasts[2], True, now=3.0)
    await store.snooze(ANN, direct[1], until=50.0, now=3.0)
    await store.retract(broadcasts[3], now=4.0)
    await store.delete_notification(ANN, broadcasts[1], now=4.0)
    log = await store.log_facts()
    assert [(entry.seq, entry.notification.id, entry.retracted) for entry in log] == [
        (1, broadcasts[0], False), (2, broadcasts[1], False), (3, broadcasts[2], False), (4, broadcasts[3], True),
    ]  # fmt: skip
    for now in (5.0, 50.0):
        facts = await store.reader_facts(ANN, now=now)
        assert facts.unread == await store.unread_count(ANN, now=now) == naive_unread(facts, log, now)
    assert [row.id for row in facts.rows] == direct
    assert facts.intervals == (("all", 0, None),)
    assert facts.marks.keys() == {2, 3}
