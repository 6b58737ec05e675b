"""A frontend that another server serves: which of its pages may connect, and call the REST routes."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.e2e.browser import Browser, Page
from tests.e2e.calls import call
from tests.e2e.node import HERE
from tests.e2e.people import shop_user
from tests.e2e.process import Server

CLIENT = HERE / "node_modules" / "socket.io-client" / "dist" / "socket.io.min.js"
PAGE = '<!doctype html><title>A frontend</title><link rel="icon" href="data:,"><script src="socket.io.min.js"></script>'

CONNECT = """({url, token, options}) => new Promise((resolve) => {
  const heard = globalThis.heard = [];
  const socket = globalThis.socket = io(url, {auth: {token}, reconnection: false, ...options});
  socket.onAny((event, data) => heard.push([event, data]));
  socket.on("connect", () => resolve("connected"));
  socket.on("connect_error", (error) => resolve(`refused: ${error.message}`));
})"""

FETCH = """async ({url, method, token, body, credentials}) => {
  const headers = {"Content-Type": "application/json", ...(token && {Authorization: `Bearer ${token}`})};
  try {
    const answer = await fetch(url, {method, headers, credentials, body: body && JSON.stringify(body)});
    return {status: answer.status, body: await answer.json()};
  } catch (error) {
    return {failed: String(error)};
  }
}"""


class _Site(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # Chromium keeps connections that it never uses


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of another web server, with one page and socket.io-client as npm delivers it."""
    site = tmp_path_factory.mktemp("frontend")
    (site / "index.html").write_text(PAGE)
    (site / CLIENT.name).write_bytes(CLIENT.read_bytes())
    server = _Site(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def dev(start_server: Callable[..., Server]) -> Server:
    return start_server(dev=True)


@pytest.fixture(scope="module")
def allowing(start_server: Callable[..., Server], frontend: str) -> Server:
    return start_server(ALLOWED_ORIGIN=f"https://app.example.com,{frontend}")


@pytest.fixture
def page(browser: Browser, frontend: str) -> Page:
    page = browser.open()
    page.go(frontend)
    return page


def connect(page: Page, server: Server, token: str, **options: Any) -> str:
    return str(page.run(CONNECT, {"url": server.url, "token": token, "options": options}))


def fetch(page: Page, method: str, url: str, token: str | None, body: object = None, **more: str) -> Any:
    return page.run(FETCH, {"url": url, "method": method, "token": token, "body": body, **more})


@pytest.mark.parametrize("kind", ["dev", "allowing"])
@pytest.mark.parametrize("options", [{}, {"transports": ["websocket"]}, {"withCredentials": True}], ids=json.dumps)
def test_allowed_page_connects_and_hears(
    dev: Server, allowing: Server, page: Page, kind: str, options: dict[str, Any]
) -> None:
    server = {"dev": dev, "allowing": allowing}[kind]
    user, token = shop_user("user")
    assert connect(page, server, token, **options) == "connected"
    body = {"userId": user, "title": "Across", "message": "origins"}
    sent = fetch(page, "POST", f"{server.url}/api/notifications", shop_user("admin")[1], body)
    assert sent["status"] == 201
    page.becomes_true("() => heard.some(([event, data]) => event === 'newNotification' && data.title === 'Across')")
    for method, path in (("PATCH", f"{sent['body']['id']}/read"), ("DELETE", f"{sent['body']['id']}")):
        assert fetch(page, method, f"{server.url}/api/notifications/{path}", token)["status"] == 200
    counted = fetch(page, "GET", f"{server.url}/api/notifications/unread-count", token, credentials="include")
    assert (counted["status"], counted["body"]["count"], counted["body"]["unreadCount"]) == (200, 0, 0)
    assert page.seen()[0] == []


def test_allowed_page_can_read_errors(allowing: Server, page: Page) -> None:
    answer = fetch(page, "GET", f"{allowing.url}/api/notifications", None)
    assert answer["status"] == 401
    assert answer["body"]["code"] == "AUTH_REQUIRED"
    missing = fetch(page, "DELETE", f"{allowing.url}/api/notifications/999999", shop_user()[1])
    assert missing["status"] == 404


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_unlisted_page_is_refused(server: Server, page: Page, transport: str) -> None:
    token = shop_user("user")[1]
    assert connect(page, server, token, transports=[transport]).startswith("refused")
    assert "failed" in fetch(page, "GET", f"{server.url}/api/notifications", token)
    assert call("GET", f"{server.url}/api/websocket/health").body["connectedUsers"] == 0


def test_preflight_says_what_is_allowed(allowing: Server, frontend: str) -> None:
    wish = {"Access_Control_Request_Method": "PATCH", "Access_Control_Request_Headers": "authorization,content-type"}
    url = f"{allowing.url}/api/notifications/1/read"
    assert call("OPTIONS", url, Origin=frontend, **wish).status == 204
    assert call("OPTIONS", url, Origin="https://app.example.com", **wish).status == 204
    for stranger in ("https://elsewhere.example", "null", frontend + ".example", frontend.replace("http", "https")):
        assert call("OPTIONS", url, Origin=stranger, **wish).status == 403, stranger


def test_client_of_the_page_is_the_one_npm_delivers(allowing: Server) -> None:
    """The bundled copy is byte for byte the pinned one, apart from the line that names its source map."""

    def program(text: str) -> str:
        return text.partition("//# sourceMappingURL")[0].strip()

    bundled = call("GET", f"{allowing.url}/socket.io/socket.io.js").body
    assert program(bundled) == program(Path(CLIENT).read_text())
