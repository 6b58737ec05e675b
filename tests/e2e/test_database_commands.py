"""Commands on the database of a server that runs."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import call
from tests.e2e.conftest import DatabaseOf, StartServer
from tests.e2e.node import Clients
from tests.e2e.people import shop_token, shop_user
from tests.e2e.process import Server, roomcast
from tests.support import SECRET

OK, PROBLEM, CANNOT_SERVE = 0, 1, 3
SENDER = shop_user("admin")[1]
"""One for all: everybody who comes is one more to count again."""


class Tool:
    """The command line over the database of a server's directory."""

    def __init__(self, database: str, cwd: Path) -> None:
        self.database = database
        self.cwd = cwd

    def __call__(self, *args: object, code: int = OK) -> str:
        """Run a command; returns what it printed, on both channels."""
        done = roomcast(*map(str, args), cwd=self.cwd, JWT_SECRET=SECRET, DATABASE_URL=self.database)
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert "Traceback" not in said
        return said


@pytest.fixture
def tool(server: Server, database_of: DatabaseOf, tmp_path: Path) -> Tool:
    return Tool(database_of(server.home), tmp_path)


def notify(server: Server, whom: dict[str, Any], title: str) -> Any:
    body = {"title": title, "message": "m", **whom}
    answer = call("POST", f"{server.url}/api/notifications", SENDER, body)
    assert answer.status == 201, answer.body
    return answer.body


def titles(server: Server, token: str) -> list[str]:
    answer = call("GET", f"{server.url}/api/notifications?limit=100", token)
    assert answer.status == 200, answer.body
    return [row["title"] for row in answer.body["notifications"]]


def test_who_was_imported_receives_before_they_ever_come(server: Server, tool: Tool, clients: Clients) -> None:
    there, token = shop_user("plumber")
    socket = clients.connect(server.url, token)
    (tool.cwd / "users.jsonl").write_text(json.dumps({"id": 50_001, "role": "plumber", "name": "Pia"}) + "\n")
    assert "1 user read: 1 new, 0 changed" in tool("import-users", "users.jsonl")
    notify(server, {"role": "plumber"}, "To all plumbers")
    assert socket.hears("newNotification")["title"] == "To all plumbers"
    assert titles(server, shop_token(50_001, "plumber")) == ["To all plumbers"]
    assert there != 50_001


def test_counts_are_proved_while_the_server_runs(server: Server, tool: Tool) -> None:
    user, token = shop_user()
    notify(server, {"userId": user}, "One")
    assert titles(server, token) == ["One"]
    assert " 0 differences" in tool("recount")
    assert "1 readers checked, 0 differences" in tool("recount", "--user", user)


def test_a_user_is_given_out_and_forgotten_while_the_server_runs(server: Server, tool: Tool) -> None:
    user, token = shop_user(name="Vera")
    notify(server, {"userId": user}, "For Vera")
    assert titles(server, token) == ["For Vera"]
    found = json.loads(tool("export-user", user))
    assert found["users"][0]["name"] == "Vera"
    assert found["notifications"][0]["content"]["title"] == "For Vera"
    assert "1 notifications" in tool("delete-user", user, "--yes")
    assert "Nothing is stored" in tool("export-user", user, code=PROBLEM)
    assert titles(server, token) == []


def test_a_backup_of_a_busy_server_starts_another_one(
    server: Server, tool: Tool, start_server: StartServer, database_of: DatabaseOf, tmp_path: Path
) -> None:
    """What was answered before is in it. SQLite's is of one moment: each request is in it whole or not at all; so it
    is with a MongoDB replica set, but not with a single server."""
    (one, first), (two, second) = shop_user(), shop_user()
    notify(server, {"userIds": [one, two]}, "Before")
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set() and len(written) < 90:  # which with the others is one page
            notify(server, {"userIds": [one, two]}, f"Meanwhile {len(written)}")
            written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        tool("backup", tmp_path / "copy")
    finally:
        stop.set()
        writer.join()
    assert written
    assert "exists" in tool("backup", tmp_path / "copy", code=CANNOT_SERVE)
    home = tmp_path / "another"
    home.mkdir()
    Tool(database_of(home), tmp_path)("restore", tmp_path / "copy")
    another = start_server(home=home)
    assert titles(another, first)[-1] == titles(another, second)[-1] == "Before"
    if tool.database.startswith("sqlite:"):
        assert titles(another, first) == titles(another, second)
    assert " 0 differences" in Tool(database_of(home), tmp_path)("recount")


def test_a_database_is_not_replaced_under_its_server(server: Server, tool: Tool) -> None:
    user, token = shop_user()
    notify(server, {"userId": user}, "Kept")
    tool("backup", "copy")
    tool("restore", "copy", "--replace", code=CANNOT_SERVE)
    assert titles(server, token) == ["Kept"]


def test_clients_of_before_a_restore_begin_anew(start_server: StartServer, database_of: DatabaseOf) -> None:
    server = start_server()
    tool = Tool(database_of(server.home), server.home)
    user, token = shop_user()
    notify(server, {"userId": user}, "Old")
    tool("backup", "copy")
    notify(server, {"userId": user}, "Lost")
    place = call("GET", f"{server.url}/api/notifications/sync", token).body
    server.stop()
    assert "is not empty" in tool("restore", "copy", code=CANNOT_SERVE)
    tool("restore", "copy", "--replace")
    server.start()
    again = call("GET", f"{server.url}/api/notifications/sync?since={place['token']}", token).body
    assert again["reset"] is True
    assert titles(server, token) == ["Old"]
