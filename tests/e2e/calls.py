"""Plain HTTP calls, as the applications' backends and their documents' curl commands make them."""

import json
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.e2e.node import require_program

ANSWER_SECONDS = 10.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


def call(method: str, url: str, token: str | None = None, body: object = None, **headers: str) -> Answer:
    """Make one request with a JSON body and return its answer, whatever its status."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        given["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=given)
    try:
        with _DIRECT.open(request, timeout=ANSWER_SECONDS) as response:
            return Answer(response.status, _decode(response.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _decode(error.read()))


def curl(*arguments: str) -> Answer:
    """Run curl with these arguments."""
    command = [
        require_program("curl"),
        "--silent",
        "--noproxy",
        "*",
        "--max-time",
        "10",
        "--write-out",
        "\n%{http_code}",
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=ANSWER_SECONDS)
    text, _, status = done.stdout.rpartition("\n")
    return Answer(int(status), _decode(text.encode()))


def _decode(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")
