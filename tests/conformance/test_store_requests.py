"""What is remembered of requests: responses, and rows under a request's name (`realtime.store.base`)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from realtime.models import Held, Notification, Replay, Stored, Target
from realtime.store.base import CLAIM_SECONDS, IDEMPOTENCY_SECONDS, Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, HELLO, TO_ALL, TO_ANN, drafted, listed

RUNNING = Replay("f", None, b"")


async def test_a_response_is_remembered_for_a_day(store: Store) -> None:
    assert await store.begin_request(ANN, "k", "f1", now=1.0) is None
    assert await store.begin_request(ANN, "k", "f2", now=2.0) == Replay("f1", None, b"")
    await store.finish_request(ANN, "k", status=201, body=b"\x00{}")
    done = Replay("f1", 201, b"\x00{}")
    for now in (2.0 + CLAIM_SECONDS, IDEMPOTENCY_SECONDS):
        assert await store.begin_request(ANN, "k", "f2", now=now) == done
    assert await store.begin_request(BOB, "k", "f1", now=3.0) is None
    assert await store.begin_request(ANN, "k2", "f1", now=3.0) is None
    assert await store.begin_request(ANN, "k", "f2", now=2.0 + IDEMPOTENCY_SECONDS) is None


async def test_a_forgotten_request_is_free_again(store: Store) -> None:
    assert await store.begin_request(ANN, "k", "f", now=1.0) is None
    await store.forget_request(ANN, "k")
    claims = await asyncio.gather(*[store.begin_request(ANN, "k", "f", now=2.0) for _ in range(10)])
    assert claims.count(None) == 1


async def test_a_claim_that_was_not_finished_is_free_after_a_while(store: Store) -> None:
    assert await store.begin_request(ANN, "k", "f", now=100.0) is None
    assert await store.begin_request(ANN, "k", "f", now=99.0 + CLAIM_SECONDS) == RUNNING
    claims = [store.begin_request(ANN, "k", "f", now=101.0 + CLAIM_SECONDS) for _ in range(5)]
    assert sorted(map(str, await asyncio.gather(*claims))) == sorted(map(str, [None, *[RUNNING] * 4]))
    assert await store.begin_request(ANN, "k", "f", now=99.0 + 2 * CLAIM_SECONDS) == RUNNING


async def test_only_the_same_request_goes_on_with_a_claim_that_was_not_finished(opener: Opener) -> None:
    store = await opener()
    assert await store.begin_request(ANN, "k", "f", now=1.0) is None
    for now in (2.0, 2.0 + CLAIM_SECONDS, IDEMPOTENCY_SECONDS):
        assert await store.begin_request(ANN, "k", "other", now=now) == RUNNING
    await store.close()
    store = await opener()
    late = 3.0 + CLAIM_SECONDS
    assert await store.begin_request(ANN, "k", "other", now=late) == RUNNING
    assert await store.begin_request(ANN, "k", "f", now=late) is None
    assert await store.begin_request(ANN, "k", "other", now=1.0 + IDEMPOTENCY_SECONDS) == RUNNING
    assert await store.begin_request(ANN, "k", "other", now=late + IDEMPOTENCY_SECONDS) is None
    assert await store.begin_request(ANN, "k", "f", now=late + IDEMPOTENCY_SECONDS) == replace(
        RUNNING, fingerprint="other"
    )


async def test_of_two_processes_one_claims_a_request(opener: Opener) -> None:
    stores = [await opener(), await opener.beside()]
    for n in range(5):
        claims = [store.begin_request(ANN, f"k{n}", "f", now=1.0) for store in stores * 3]
        answers = await asyncio.gather(*claims)
        assert answers.count(None) == 1
        assert answers.count(RUNNING) == 5
    await stores[0].finish_request(ANN, "k0", status=200, body=b"ok")
    assert await stores[1].begin_request(ANN, "k0", "f", now=2.0) == Replay("f", 200, b"ok")
    await stores[1].forget_request(ANN, "k1")
    assert await stores[0].begin_request(ANN, "k1", "f", now=2.0) is None
    assert await stores[1].begin_request(ANN, "k1", "f", now=2.0) == RUNNING


async def test_one_more_process_takes_nobodys_claims(opener: Opener) -> None:
    store = await opener()
    await store.begin_request(ANN, "k", "f", now=1.0)
    other = await opener.beside()
    assert await other.begin_request(ANN, "k", "f", now=2.0) == RUNNING


async def test_a_restart_keeps_responses_and_frees_claims_when_their_time_is_over(opener: Opener) -> None:
    store = await opener()
    for key in ("running", "done"):
        await store.begin_request(ANN, key, "f", now=1.0)
    await store.finish_request(ANN, "done", status=200, body=b"ok")
    await store.close()
    store = await opener()
    assert await store.begin_request(ANN, "done", "f", now=2.0) == Replay("f", 200, b"ok")
    assert await store.begin_request(ANN, "running", "f", now=2.0 + CLAIM_SECONDS) is None
    assert await store.begin_request(ANN, "running", "f", now=2.0 + CLAIM_SECONDS) == RUNNING


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_a_restart_frees_all_claims_where_nobody_else_may_write(opener: Opener) -> None:
    store = await opener()
    await store.begin_request(ANN, "k", "f", now=1.0)
    await store.close()
    store = await opener()
    assert await store.begin_request(ANN, "k", "f", now=2.0) is None
    assert await store.begin_request(ANN, "k", "f", now=2.0) == RUNNING


async def test_a_repeated_attempt_returns_what_the_first_has_stored(opener: Opener) -> None:
    store = await opener()
    await store.open_membership(ANN, "all", now=1.0)
    targets = [TO_ANN, TO_ALL]
    first = await store.add(targets, HELLO, sender=BOB, now=1000.0, request="r" * 200)
    assert not any(one.duplicate or one.repeated for one in first)
    await store.close()
    store = await opener()
    other = Target(recipient=BOB)
    late = 999.0 + IDEMPOTENCY_SECONDS
    again = await store.add([*targets, other], HELLO, sender=BOB, now=late, request="r" * 200)
    assert again[:2] == [Stored(one.notification, duplicate=True, repeated=True) for one in first]
    assert (again[2].duplicate, again[2].repeated) == (False, False)
    assert len(await listed(store, ANN)) == 2
    for request in ("r", None):
        (fresh,) = await store.add([TO_ANN], HELLO, sender=BOB, now=late, request=request)
        assert not fresh.duplicate
    (fresh,) = await store.add([TO_ANN], HELLO, sender=BOB, now=1001.0 + IDEMPOTENCY_SECONDS, request="r" * 200)
    assert not fresh.duplicate


async def test_attempts_at_the_same_moment_store_one_row(opener: Opener) -> None:
    stores = [await opener(), await opener.beside()]
    for n in range(3):
        asked = [one.add([TO_ANN], HELLO, sender=None, now=1.0, request=f"r{n}") for one in stores * 3]
        results = [one for (one,) in await asyncio.gather(*asked)]
        assert sorted((one.duplicate, one.repeated) for one in results) == [(False, False)] + [(True, True)] * 5
        assert len({one.notification.id for one in results}) == 1
    for n in range(3):
        asked = [one.add([TO_ANN], HELLO, sender=None, now=1.0, dedup_key=f"k{n}") for one in stores * 3]
        results = [one for (one,) in await asyncio.gather(*asked)]
        assert sorted((one.duplicate, one.repeated) for one in results) == [(False, False)] + [(True, False)] * 5
    assert len(await listed(stores[1], ANN)) == 6


async def test_a_repeated_attempt_with_a_dedup_key_is_told_from_another_request(store: Store) -> None:
    (first,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0, dedup_key="k", request="r")
    (again,) = await store.add([TO_ANN], HELLO, sender=None, now=2.0, dedup_key="k", request="r")
    assert again == Stored(first.notification, duplicate=True, repeated=True)
    (other,) = await store.add([TO_ANN], HELLO, sender=None, now=3.0, dedup_key="k", request="r2")
    assert other == Stored(first.notification, duplicate=True)


async def test_a_repeated_attempt_does_not_join_its_own_group(store: Store) -> None:
    grouped = replace(HELLO, group_key="g")
    (first,) = await store.add([TO_ANN], grouped, sender=None, now=1.0, request="r")
    (again,) = await store.add([TO_ANN], grouped, sender=None, now=2.0, request="r")
    assert again == Stored(first.notification, duplicate=True, repeated=True)
    row = await store.notification(ANN, first.notification.id, now=3.0)
    assert row == first.notification


async def test_a_repeated_attempt_returns_the_draft_or_what_it_has_become(store: Store) -> None:
    (first,) = await drafted(store, TO_ANN, request="r")
    again = await store.add_drafts([TO_ANN], HELLO, sender=None, run_at=60.0, now=2.0, request="r")
    assert again == [Held(first, duplicate=True, repeated=True)]
    await store.publish_draft(first.id, now=50.0)
    again = await store.add_drafts([TO_ANN], HELLO, sender=None, run_at=60.0, now=51.0, request="r")
    row = Notification(first.id, TO_ANN, HELLO, None, 50.0, 50.0)
    assert again == [Stored(row, duplicate=True, repeated=True)]
    assert await listed(store, ANN) == [first.id]
    assert await store.next_run() is None


async def test_the_key_of_a_waiting_draft_stores_nothing_else(store: Store) -> None:
    (first,) = await drafted(store, TO_ANN, dedup_key="k")
    (now_,) = await store.add([TO_ANN], HELLO, sender=None, now=2.0, dedup_key="k")
    assert (now_.notification.id, now_.duplicate, now_.repeated) == (first.id, True, False)
    assert await store.draft(first.id) == first
    assert await listed(store, ANN) == []


@pytest.mark.parametrize("kind_of_key", ["dedup_key", "request"])
async def test_the_key_of_a_cancelled_draft_is_free(store: Store, kind_of_key: str) -> None:
    more: dict[str, Any] = {kind_of_key: "k"}
    for _ in range(2):
        (draft,) = await drafted(store, TO_ANN, **more)
        assert await store.draft(draft.id) == draft
        await store.cancel_draft(draft.id)
    (stored,) = await store.add([TO_ANN], HELLO, sender=None, now=2.0, **more)
    assert not stored.duplicate
    assert await listed(store, ANN) == [stored.notification.id]
