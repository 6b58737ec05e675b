"""Device tokens, under both prefixes of the notifications routes."""

import pytest

from tests.handlers.http.answers import GUEST, USER, refused
from tests.support import Running, bearer

PATHS = ["/notifications/device-token", "/api/notifications/device-token"]
REGISTERED = (200, {"message": "Device token registered successfully"})
UNREGISTERED = (200, {"message": "Device token unregistered successfully"})


async def devices(running: Running, owner: str = "user:5") -> list[tuple[str, str | None]]:
    return [(device.token, device.platform) for device in await running.parts.services.devices.of(owner)]


@pytest.mark.parametrize("path", PATHS)
async def test_a_device_is_registered_and_forgotten(running: Running, path: str) -> None:
    assert await running.call("POST", path, by=USER, json={"token": "abc", "platform": "web"}) == REGISTERED
    assert await running.call("POST", path, by=USER, json={"token": " def ", "more": 1}) == REGISTERED
    assert await devices(running) == [("def", None), ("abc", "web")]
    assert await running.call("DELETE", path, by=USER, json={"token": "abc"}) == UNREGISTERED
    assert await devices(running) == [("def", None)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [None, {}, {"token": None}])
async def test_without_a_token_all_devices_of_the_caller_are_forgotten(
    running: Running, path: str, body: object
) -> None:
    for name in ("abc", "def"):
        await running.call("POST", path, by=USER, json={"token": name})
    await running.call("POST", path, by=bearer(6), json={"token": "other"})
    assert await running.call("DELETE", path, by=USER, json=body) == UNREGISTERED
    assert await devices(running) == []
    assert await devices(running, "user:6") == [("other", None)]


@pytest.mark.parametrize("path", PATHS)
async def test_an_empty_token_does_not_mean_all_devices(running: Running, path: str) -> None:
    await running.call("POST", path, by=USER, json={"token": "abc"})
    for empty in ("", " "):
        refused(await running.call("DELETE", path, by=USER, json={"token": empty}), 400, "INVALID_PAYLOAD")
    assert await devices(running) == [("abc", None)]


async def test_a_device_belongs_to_who_registered_it_last(running: Running) -> None:
    for by in (USER, GUEST):
        await running.call("POST", PATHS[0], by=by, json={"token": "abc"})
    assert await devices(running) == []
    assert await devices(running, "guest:5") == [("abc", None)]


async def test_somebody_elses_device_cannot_be_forgotten(running: Running) -> None:
    await running.call("POST", PATHS[0], by=USER, json={"token": "abc"})
    assert await running.call("DELETE", PATHS[0], by=bearer(6), json={"token": "abc"}) == UNREGISTERED
    assert await devices(running) == [("abc", None)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [None, {}, {"token": " "}, {"token": 7}, {"token": "a\nb"}, {"token": "x" * 4097}])
async def test_what_is_no_token_is_refused(running: Running, path: str, body: object) -> None:
    refused(await running.call("POST", path, by=USER, json=body), 400, "INVALID_PAYLOAD")
    assert await devices(running) == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_nobody_registers_without_a_token_of_their_own(running: Running, path: str, method: str) -> None:
    refused(await running.call(method, path, json={"token": "abc"}), 401, "AUTH_REQUIRED")
