"""A web server of its own for the frontends, as each of the applications has one."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from threading import Thread
from typing import Any, Self

from tests.e2e.browser import Browser, Page
from tests.e2e.node import HERE, require_modules

FRONTENDS = HERE / "frontends"
CLIENT = HERE / "node_modules" / "socket.io-client" / "dist" / "socket.io.esm.min.js"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # Chromium keeps connections that it never uses


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def end_headers(self) -> None:
        """Let pages of other servers import the modules."""
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()


class Site:
    """Serves the modules of `frontends`, and socket.io-client as npm delivers it."""

    def __init__(self, home: Path) -> None:
        require_modules()
        copytree(FRONTENDS, home, dirs_exist_ok=True)
        (home / CLIENT.name).write_bytes(CLIENT.read_bytes())
        self._server = _Server(("127.0.0.1", 0), partial(_Files, directory=str(home)))
        self._thread = Thread(target=self._server.serve_forever)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def open(self, browser: Browser) -> Page:
        """Return a page of this site."""
        page = browser.open()
        page.go(self.origin)
        return page

    def import_into(self, page: Page, module: str) -> None:
        """Make what a module exports global in a page."""
        page.run("async (url) => void Object.assign(globalThis, await import(url))", f"{self.origin}/{module}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
