import io
import json
import stat
from pathlib import Path

import pytest

from realtime.models import Content, NewMessage, Target, User
from realtime.store.sqlite import SqliteStore
from tests.commands.conftest import Roomcast

TO_ADMINS = Target(audience="room:admin_room")
HELLO = Content("info", "Hello", "Hello there")


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def user(roomcast: Roomcast, id: str) -> User:
    found = roomcast.stored(lambda store: store.user(id))
    assert found is not None
    return found


def readers(roomcast: Roomcast, audience: str) -> list[str]:
    return roomcast.stored(lambda store: store.readers(audience))


# --- import-users ---


def test_imported_users_are_known_and_hold_their_audiences(roomcast: Roomcast, tmp_path: Path) -> None:
    file = write(
        tmp_path / "users.jsonl",
        {"id": 7, "name": "Ann", "role": "technician", "locale": "es", "tz": "Europe/Madrid", "email": "a@example.com"},
        {"id": "x1", "role": "manager"},
        {"id": 8},
    )
    done = roomcast("import-users", file)
    assert done.exit_code == 0, done.output
    assert "3 users read: 3 new, 0 changed" in done.stdout
    ann = user(roomcast, "7")
    assert (ann.wire_id, ann.name, ann.role, ann.locale, ann.tz) == (7, "Ann", "technician", "es", "Europe/Madrid")
    assert (user(roomcast, "x1").wire_id, user(roomcast, "8").role) == ("x1", "user")
    assert readers(roomcast, "all") == ["user:7", "user:8", "user:x1"]
    assert readers(roomcast, "role:technician") == ["user:7"]
    assert readers(roomcast, "room:admin_room") == ["user:x1"]


def test_importing_again_changes_only_what_differs(roomcast: Roomcast, tmp_path: Path) -> None:
    roomcast("import-users", write(tmp_path / "one.jsonl", {"id": 7, "name": "Ann"}, {"id": 8, "role": "admin"}))
    lines = {"id": 7, "name": "Anna"}, {"id": 8, "role": "user"}, {"id": 9}
    done = roomcast("import-users", write(tmp_path / "two.jsonl", *lines))
    assert "3 users read: 1 new, 2 changed" in done.stdout
    assert user(roomcast, "7").name == "Anna"
    assert readers(roomcast, "room:admin_room") == []
    assert readers(roomcast, "role:admin") == []
    assert "0 new, 0 changed" in roomcast("import-users", tmp_path / "two.jsonl").stdout


def test_an_imported_role_is_newer_than_one_that_was_set_before(roomcast: Roomcast, tmp_path: Path) -> None:
    roomcast.stored(lambda store: store.set_user("7", role="admin", name=None, now=1.0))
    roomcast("import-users", write(tmp_path / "users.jsonl", {"id": 7, "role": "technician"}))
    assert user(roomcast, "7").role == "technician"


def test_nothing_is_imported_of_a_file_with_a_bad_line(roomcast: Roomcast, tmp_path: Path) -> None:
    done = roomcast("import-users", write(tmp_path / "users.jsonl", {"id": 7}, "oops", {"id": 8, "role": 1}))
    assert done.exit_code == 1
    assert "line 2: is not JSON" in done.stderr
    assert "line 3: role must be a text" in done.stderr
    assert "2 lines cannot be used; nothing was imported" in done.stderr
    assert not roomcast.path.exists()


def test_bad_lines_are_left_out_when_asked_to(roomcast: Roomcast, tmp_path: Path) -> None:
    done = roomcast("import-users", "--skip-bad", write(tmp_path / "users.jsonl", {"id": 7}, "oops", {"id": 8}))
    assert done.exit_code == 0, done.output
    assert "line 2: is not JSON" in done.stderr
    assert "2 users read: 2 new, 0 changed, 1 line skipped" in done.stdout


def test_of_many_bad_lines_some_are_shown(roomcast: Roomcast, tmp_path: Path) -> None:
    done = roomcast("import-users", write(tmp_path / "users.jsonl", *["oops"] * 50))
    assert "line 20: " in done.stderr
    assert "line 21: " not in done.stderr
    assert "and 30 more" in done.stderr


def test_standard_input_can_be_the_file(roomcast: Roomcast) -> None:
    done = roomcast("import-users", "-", input=io.BytesIO(b'{"id": 7}\n'))
    assert "1 user read: 1 new" in done.stdout


def test_more_users_than_one_transaction_takes(roomcast: Roomcast, tmp_path: Path) -> None:
    done = roomcast("import-users", write(tmp_path / "users.jsonl", *({"id": id} for id in range(1, 4502))))
    assert "4501 users read: 4501 new, 0 changed" in done.stdout
    assert len(readers(roomcast, "role:user")) == 4501


def test_a_file_that_is_not_there_is_named(roomcast: Roomcast) -> None:
    done = roomcast("import-users", "nowhere.jsonl")
    assert done.exit_code == 2
    assert "nowhere.jsonl" in done.stderr


# --- export-user and delete-user ---


async def fill(store: SqliteStore) -> None:
    await store.set_user("7", role=None, name="Ann", now=1.0)
    await store.add([Target(recipient="user:7")], HELLO, sender="user:8", now=2.0)
    await store.add_message(NewMessage("7", "8", "Hi"), now=3.0)


def test_everything_about_a_user_is_printed(roomcast: Roomcast) -> None:
    roomcast.stored(fill)
    done = roomcast("export-user", "7")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["users"][0]["name"] == "Ann"
    assert found["users"][0]["first_seen"] == "1970-01-01T00:00:01.000Z"
    assert [row["content"]["title"] for row in found["notifications"]] == ["Hello"]
    assert [(row["sender"], row["content"]) for row in found["messages"]] == [("7", "Hi")]


def test_everything_about_a_user_goes_into_a_file_of_ones_own(roomcast: Roomcast, tmp_path: Path) -> None:
    roomcast.stored(fill)
    output = tmp_path / "seven.json"
    done = roomcast("export-user", "7", "--output", output)
    assert done.exit_code == 0, done.output
    assert "Hi" not in done.stdout
    assert json.loads(output.read_text())["messages"]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    again = roomcast("export-user", "7", "--output", output)
    assert again.exit_code == 1
    assert "seven.json cannot be written" in again.stderr


def test_of_a_user_who_is_gone_nothing_is_left(roomcast: Roomcast) -> None:
    roomcast.stored(fill)
    done = roomcast("delete-user", "7", "--yes")
    assert done.exit_code == 0, done.output
    for removed in ("1 users", "1 notifications", "1 messages"):
        assert removed in done.stdout
    assert "Nothing is stored about user 7" in roomcast("export-user", "7").stderr
    assert "Nothing was stored about user 7" in roomcast("delete-user", "7", "--yes").stdout


@pytest.mark.parametrize(("answer", "left"), [("y\n", False), ("n\n", True), ("", True)])
def test_removing_a_user_is_asked_about(roomcast: Roomcast, answer: str, left: bool) -> None:
    roomcast.stored(fill)
    done = roomcast("delete-user", "7", input=answer)
    assert "Remove everything about user 7 for ever?" in done.output
    assert done.exit_code == int(left)
    assert (roomcast("export-user", "7").exit_code == 0) is left


@pytest.mark.parametrize("command", [("export-user", "7"), ("delete-user", "7", "--yes"), ("sweeps",), ("recount",)])
def test_a_database_that_is_not_there_is_not_made(roomcast: Roomcast, command: tuple[str, ...]) -> None:
    done = roomcast(*command)
    assert done.exit_code == 3
    assert "There is no database" in done.stderr
    assert not roomcast.path.exists()
