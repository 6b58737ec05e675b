import io
import json

import pytest

from realtime.commands import user_lines
from realtime.commands.user_lines import LINE_BYTES, BadLine, UserLines, parse
from realtime.models import Seen

NOW = 1000.0


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def read(*lines: bytes) -> UserLines:
    found = UserLines(issued_at=NOW)
    found.read(io.BytesIO(b"\n".join(lines)))
    return found


def problem(text: bytes) -> str:
    with pytest.raises(BadLine) as caught:
        parse(text, issued_at=NOW)
    return str(caught.value)


def test_everything_that_a_line_can_say_is_taken() -> None:
    text = line(id=7, name=" Ann ", role="technician", locale="pt-BR", tz="Europe/Madrid", email="ann@example.com")
    assert parse(text, issued_at=NOW) == Seen(
        "7", 7, "technician", "Ann", "ann@example.com", NOW, locale="pt-BR", tz="Europe/Madrid"
    )


def test_an_id_is_enough() -> None:
    assert parse(b'{"id": "a/b", "name": null, "email": ""}', issued_at=NOW) == Seen(
        "a/b", "a/b", "user", None, None, NOW
    )


@pytest.mark.parametrize(("given", "id"), [(b"7", 7), (b'"7"', "7"), (b'"007"', "007"), (b"-1", -1)])
def test_an_id_keeps_its_json_type(given: bytes, id: object) -> None:
    seen = parse(b'{"id": %s}' % given, issued_at=NOW)
    assert (seen.wire_id, type(seen.wire_id), seen.id) == (id, type(id), str(id))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b"7", "is not a JSON object"),
        (b"{}", "id is missing"),
        (b'{"id": null}', "id is missing"),
        (b'{"id": ""}', "id must be"),
        (b'{"id": true}', "id must be"),
        (b'{"id": 7.5}', "id must be"),
        (b'{"id": [7]}', "id must be"),
        (line(id="x" * 101), "id must be"),
        (line(id=" 7"), "id must be printable"),
        (line(id="7 "), "id must be printable"),
        (line(id=" "), "id must be printable"),
        (line(id="7\n8"), "id must be printable"),
        (line(id="7\0"), "id must be printable"),
        (line(id="7\u200b"), "id must be printable"),
        (line(id="\u20ac" * 50), "cannot be part of the name of a room"),
        (line(id=7, mail="x"), "unknown field 'mail'"),
        (line(id=7, name=7), "name must be a text"),
        (line(id=7, name="x" * 201), "name has more than 200 characters"),
        (b'{"id": 7, "name": "\\ud800"}', "is not JSON"),
        (line(id=7, role="x" * 41), "role has more than 40 characters"),
        (line(id=7, role="guest"), "a guest is not a user"),
        (line(id=7, email="x" * 321), "email has more than 320 characters"),
        (line(id=7, locale="english!"), "locale must be like"),
        (line(id=7, tz="Mars/Olympus"), "tz must be like"),
        (line(id=7, tz="../etc/passwd"), "tz must be like"),
        (b" " * LINE_BYTES + b'{"id": 7}', "is longer than"),
        (b'{"id":' + b"[" * 1000 + b"]" * 1000 + b"}", "is not JSON"),
    ],
)
def test_a_bad_line_says_what_is_wrong(text: bytes, complaint: str) -> None:
    assert complaint in problem(text)


def test_where_no_time_zones_are_known_their_form_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_lines, "_zones", frozenset)
    assert parse(line(id=7, tz="Mars/Olympus"), issued_at=NOW).tz == "Mars/Olympus"
    assert "tz must be like" in problem(line(id=7, tz="../etc/passwd"))


def test_lines_are_numbered_as_an_editor_does() -> None:
    found = read(b'\xef\xbb\xbf{"id": 1}\r', b"", b"oops", b'{"id": 2}')
    assert [user.id for user in found.users] == ["1", "2"]
    assert found.bad == [(3, "is not JSON")]


def test_a_user_is_there_once() -> None:
    found = read(b'{"id": 7}', b'{"id": "7"}', b'{"id": 8}')
    assert [user.wire_id for user in found.users] == [7, 8]
    assert found.bad == [(2, "id '7' is on line 1, too")]


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    found = read(b"x" * 1_000_000, b'{"id": 1}')
    assert found.bad == [(1, f"is longer than {LINE_BYTES} bytes")]
    assert [user.id for user in found.users] == ["1"]
