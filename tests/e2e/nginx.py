"""An nginx of one's own in front of a server: as this user, with all of its files in one directory."""

import os
import re
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.e2e.node import skip
from tests.e2e.ports import kept_ports
from tests.e2e.process import ROOT, TimedOut, wait_until

FRAME = """
daemon off;
master_process off;
pid {home}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {content}
}}
"""

DEFAULTS = """
upstream backend { server 127.0.0.1:3000; }
server {
    listen 80;

    # The hotel's document.
    location /ws/ {
        proxy_pass http://backend;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }

    # Nothing said: HTTP/1.0, no connection kept, answers buffered.
    location /notifications/events {
        proxy_pass http://backend;
    }

    location / {
        proxy_pass http://backend;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}
"""
"""As people write it who have read only the applications' documents."""


def documented() -> str:
    """Return the configuration that README shows."""
    block = re.search(r"```nginx\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    return block[1]


def _program() -> str:
    """Debian keeps it where users who are not root do not look."""
    path = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if path is None:
        skip("nginx is not installed")
    return str(path)


class Nginx:
    """Serves a configuration whose server listens anywhere and whose backend is on port 3000."""

    def __init__(self, home: Path, configuration: str, *, backend: int) -> None:
        self._home = home
        self._configuration = configuration
        self._backend = backend
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        program = _program()
        (self.port,) = self._stack.enter_context(kept_ports(1))
        content = re.sub(r"(?m)^\s*(server_name|ssl_\w+) .*\n", "", self._configuration)
        content = re.sub(r"listen [^;]+;", f"listen 127.0.0.1:{self.port};", content)
        content = content.replace("127.0.0.1:3000", f"127.0.0.1:{self._backend}")
        file, log = self._home / "nginx.conf", self._home / "error.log"
        file.write_text(FRAME.format(home=self._home, content=content))
        self._process = subprocess.Popen([program, "-p", self._home, "-c", file, "-e", log])
        try:
            wait_until(self._listens, what=f"nginx with {file}")
        except TimedOut as error:
            self._end()
            raise AssertionError(log.read_text()) from error
        return self

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def __exit__(self, *_exc: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
        self._stack.close()
