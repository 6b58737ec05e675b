"""The command line: exit codes, what it says when it cannot serve, and what it never prints."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.calls import call
from tests.e2e.conftest import DatabaseOf
from tests.e2e.node import Clients
from tests.e2e.ports import kept_ports
from tests.e2e.process import Server, TimedOut, roomcast, wait_until
from tests.support import SECRET

OK, BAD_SETTING, CANNOT_SERVE = 0, 2, 3


@pytest.fixture(scope="module")
def database_of() -> DatabaseOf:
    """Commands that no database of another kind would change."""
    return lambda home: f"sqlite:///{home / 'realtime.db'}"


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_busy_port_is_named(tmp_path: Path, busy_port: int) -> None:
    done = roomcast("serve", "--port", str(busy_port), cwd=tmp_path, JWT_SECRET=SECRET)
    assert done.returncode == CANNOT_SERVE
    assert f"cannot listen on 127.0.0.1:{busy_port}: the port is already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_key_is_named_with_the_way_to_make_one(tmp_path: Path) -> None:
    done = roomcast("serve", "--port", "0", cwd=tmp_path)
    assert done.returncode == BAD_SETTING
    assert "JWT_SECRET" in done.stderr
    assert "secrets.token_urlsafe" in done.stderr


def test_short_key_is_refused_and_not_repeated(tmp_path: Path) -> None:
    done = roomcast("serve", "--port", "0", cwd=tmp_path, JWT_SECRET="tiny-key")
    assert done.returncode == BAD_SETTING
    assert "JWT_SECRET" in done.stderr
    assert "tiny-key" not in done.stdout + done.stderr


@pytest.mark.parametrize(("variable", "value"), [("PORT", "http"), ("ALLOWED_ORIGIN", "*"), ("PING_INTERVAL", "-1")])
def test_bad_setting_is_named(tmp_path: Path, variable: str, value: str) -> None:
    for command in (("serve",), ("check-config",)):
        done = roomcast(*command, cwd=tmp_path, JWT_SECRET=SECRET, **{variable: value})
        assert done.returncode == BAD_SETTING
        assert variable in done.stderr


def test_settings_are_shown_with_their_secrets_masked(tmp_path: Path) -> None:
    hidden = {"JWT_SECRET": SECRET, "JWT_SECRET_PREVIOUS": SECRET[::-1], "METRICS_TOKEN": "a-token-for-metrics"}
    done = roomcast("check-config", cwd=tmp_path, PORT=3999, **hidden)
    assert done.returncode == OK, done.stderr
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert shown["PORT"] == "3999"
    for variable, value in hidden.items():
        assert shown[variable] == "(set, hidden)"
        assert value not in done.stdout + done.stderr


def test_credentials_of_the_database_are_never_printed(tmp_path: Path) -> None:
    url = "mongodb://roomcast:hunter2@127.0.0.1:1/roomcast?serverSelectionTimeoutMS=100&connectTimeoutMS=100"
    shown = roomcast("check-config", cwd=tmp_path, JWT_SECRET=SECRET, DATABASE_URL=url)
    assert "DATABASE_URL=mongodb://***@127.0.0.1:1/roomcast" in shown.stdout
    bad = roomcast("check-config", cwd=tmp_path, JWT_SECRET=SECRET, DATABASE_URL=url.replace("/roomcast?", "?"))
    assert bad.returncode == BAD_SETTING
    assert "DATABASE_URL: must be mongodb://host/name" in bad.stderr
    for done in (shown, bad):
        assert "hunter2" not in done.stdout + done.stderr


def test_settings_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"JWT_SECRET={SECRET}\nPORT=3998\nPING_INTERVAL=7\n")
    done = roomcast("check-config", cwd=tmp_path, PORT=3997)
    assert done.returncode == OK, done.stderr
    assert "PORT=3997" in done.stdout.splitlines()
    assert "PING_INTERVAL=7" in done.stdout.splitlines()


def test_printed_token_connects(server: Server, clients: Clients, tmp_path: Path) -> None:
    done = roomcast("token", "7", "--role", "technician", "--name", "Tess", cwd=tmp_path, JWT_SECRET=SECRET)
    assert done.returncode == OK, done.stderr
    token = done.stdout.strip()
    socket = clients.connect(server.url, token)
    assert socket.ask("register", 7) == {"success": True, "userId": 7}
    rooms = call("GET", f"{server.url}/api/websocket/user/7/rooms", token).body["data"]["rooms"]
    assert rooms == ["role_technician", "user_7"]


def test_token_without_a_key_is_refused(tmp_path: Path) -> None:
    done = roomcast("token", "7", cwd=tmp_path)
    assert done.returncode == BAD_SETTING
    assert "JWT_SECRET" in done.stderr
    assert done.stdout == ""


def test_development_mode_stays_on_this_machine(tmp_path: Path) -> None:
    done = roomcast("serve", "--dev", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)
    assert done.returncode == BAD_SETTING
    assert "--dev-insecure" in done.stderr


def test_development_mode_beyond_this_machine_when_insisted_on(tmp_path: Path, busy_port: int) -> None:
    """The refusal of the busy port shows that it got as far as listening."""
    arguments = ("serve", "--dev", "--dev-insecure", "--host", "0.0.0.0", "--port", str(busy_port))
    done = roomcast(*arguments, cwd=tmp_path)
    assert done.returncode == CANNOT_SERVE
    assert f"cannot listen on 0.0.0.0:{busy_port}" in done.stderr


def test_development_tokens_work_without_any_setting(tmp_path: Path, clients: Clients) -> None:
    server = Server(tmp_path, dev=True, JWT_SECRET=None)
    server.start()
    try:
        assert call("GET", f"{server.url}/readyz").status == 200  # what it prints is printed before it answers
        printed = [line.strip() for line in server.output_file.read_text().splitlines()]
        admin = next(line for line in printed if line.startswith("eyJ"))
        assert clients.connect(server.url, admin).ask("register", 1)["success"]
        made = roomcast("token", "9", cwd=tmp_path)
        assert clients.connect(server.url, made.stdout.strip()).ask("register", 9)["success"]
    finally:
        server.stop()
    key = tmp_path / "data" / "dev-secret"
    assert key.stat().st_mode & 0o077 == 0
    assert key.read_text().strip() not in server.log + server.output_file.read_text()


def test_second_server_on_the_same_database_is_refused(server: Server, tmp_path: Path) -> None:
    database = server.home / "realtime.db"
    done = roomcast("serve", "--port", "0", cwd=tmp_path, JWT_SECRET=SECRET, DATABASE_URL=f"sqlite:///{database}")
    assert done.returncode == CANNOT_SERVE
    assert str(database) in done.stderr
    assert str(server.running.pid) in done.stderr
    assert "Traceback" not in done.stderr
    assert call("GET", f"{server.url}/readyz").status == 200


def test_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    database = tmp_path / "file" / "realtime.db"
    done = roomcast("serve", "--port", "0", cwd=tmp_path, JWT_SECRET=SECRET, DATABASE_URL=f"sqlite:///{database}")
    assert done.returncode == CANNOT_SERVE
    assert "realtime.db" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_waits_for_its_database_stops_when_it_is_told(tmp_path: Path) -> None:
    with kept_ports(1) as [port]:
        server = Server(tmp_path, DATABASE_URL=f"mongodb://127.0.0.1:{port}/nothing")
        with pytest.raises(TimedOut):
            server.start(seconds=2.0)
        wait_until(lambda: "waiting for the database" in server.log, what="the line that says so", seconds=20)
        server.terminate()
        assert server.wait() == OK
    server.check_log()
