"""Device tokens in every store (`realtime.store.base.DeviceStore`)."""

import asyncio

import pytest

from realtime.errors import Code, RealtimeError
from realtime.models import Device
from realtime.store.base import MAX_DEVICES, Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, GUEST


async def tokens(store: Store, owner: str) -> list[str]:
    return [device.token for device in await store.devices(owner)]


async def test_devices_come_newest_first_as_they_were_registered(opener: Opener) -> None:
    store = await opener()
    assert await store.devices(ANN) == []
    await store.register_device(ANN, "phone \0 é", platform="ios", now=1.0)
    await store.register_device(BOB, "bob", platform="android", now=1.5)
    await store.register_device(ANN, "tablet", platform=None, now=2.0)
    expected = [Device("tablet", ANN, None, 2.0), Device("phone \0 é", ANN, "ios", 1.0)]
    assert await store.devices(ANN) == expected
    await store.close()
    store = await opener()
    assert await store.devices(ANN) == expected
    assert await store.devices(GUEST) == []


async def test_a_token_that_is_registered_again_is_one_device_and_the_newest(store: Store) -> None:
    for now, token in enumerate(("phone", "tablet", "phone")):
        await store.register_device(ANN, token, platform=f"p{now}", now=float(now))
    assert await store.devices(ANN) == [Device("phone", ANN, "p2", 2.0), Device("tablet", ANN, "p1", 1.0)]


async def test_a_token_moves_to_whoever_registers_it(store: Store) -> None:
    await store.register_device(ANN, "phone", platform="ios", now=1.0)
    await store.register_device(GUEST, "phone", platform=None, now=2.0)
    assert await store.devices(ANN) == []
    assert await store.devices(GUEST) == [Device("phone", GUEST, None, 2.0)]
    assert await store.unregister_devices(ANN, "phone") == 0
    assert await tokens(store, GUEST) == ["phone"]


async def test_the_oldest_devices_of_one_owner_are_forgotten(store: Store) -> None:
    await store.register_device(BOB, "bob", platform=None, now=0.0)
    names = [f"t{number}" for number in range(MAX_DEVICES + 2)]
    for now, token in enumerate(names[:MAX_DEVICES]):
        await store.register_device(ANN, token, platform=None, now=float(now))
    assert await tokens(store, ANN) == names[:MAX_DEVICES][::-1]
    await store.register_device(ANN, "t0", platform=None, now=50.0)
    assert len(await tokens(store, ANN)) == MAX_DEVICES
    for token in names[MAX_DEVICES:]:
        await store.register_device(ANN, token, platform=None, now=60.0)
    assert await tokens(store, ANN) == [names[-1], names[-2], "t0", *names[3:MAX_DEVICES][::-1]]
    assert await tokens(store, BOB) == ["bob"]


async def test_a_token_that_moves_makes_the_new_owner_forget(store: Store) -> None:
    for number in range(MAX_DEVICES):
        await store.register_device(ANN, f"a{number}", platform=None, now=float(number))
        await store.register_device(BOB, f"b{number}", platform=None, now=float(number))
    await store.register_device(ANN, "b7", platform=None, now=99.0)
    assert (await tokens(store, ANN))[0] == "b7"
    assert (await tokens(store, ANN))[-1] == "a1"
    assert len(await tokens(store, ANN)) == MAX_DEVICES
    assert len(await tokens(store, BOB)) == MAX_DEVICES - 1


async def test_devices_are_removed_one_by_one_or_all_at_once(store: Store) -> None:
    for now, token in enumerate(("a", "b", "c")):
        await store.register_device(ANN, token, platform=None, now=float(now))
    await store.register_device(BOB, "d", platform=None, now=1.0)
    assert await store.unregister_devices(ANN, "b") == 1
    assert await store.unregister_devices(ANN, "b") == 0
    assert await store.unregister_devices(ANN, "d") == 0
    assert await store.unregister_devices(ANN, "") == 0
    assert await tokens(store, ANN) == ["c", "a"]
    assert await store.unregister_devices(ANN, None) == 2
    assert await store.unregister_devices(ANN, None) == 0
    assert await tokens(store, ANN) == []
    assert await tokens(store, BOB) == ["d"]


async def test_a_token_of_many_owners_at_once_has_one(store: Store) -> None:
    owners = [f"user:{number}" for number in range(20)]
    await asyncio.gather(*(store.register_device(owner, "shared", platform=None, now=1.0) for owner in owners))
    assert len([owner for owner in owners if await tokens(store, owner)]) == 1


async def test_a_token_that_is_no_text_is_refused(store: Store) -> None:
    for token, platform in (("\ud800", None), ("phone", "\udfff")):
        with pytest.raises(RealtimeError) as caught:
            await store.register_device(ANN, token, platform=platform, now=1.0)
        assert caught.value.code is Code.INVALID_PAYLOAD
    assert await store.devices(ANN) == []
