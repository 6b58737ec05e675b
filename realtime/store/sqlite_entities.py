"""Business rows as JSON, found by kind and id, by field values and by the people they name."""

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence

from realtime.models import Change, EntityQuery, JsonObject, wire_id
from realtime.store.sqlite_rows import ID_MAX, dumps, head, loads, set_head
from realtime.store.sqlite_writer import CallerError

FIELD = re.compile(r"[A-Za-z_]+")

# A field as text: strings as they are, numbers and booleans as JSON writes them; null, lists and objects never match.
EQUALS = """CASE json_type(row, :path{n})
    WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'
    WHEN 'object' THEN NULL WHEN 'array' THEN NULL
    ELSE CAST(json_extract(row, :path{n}) AS TEXT) END = :value{n}"""

NAMED = "id IN (SELECT n.id FROM entity_name AS n WHERE n.kind = :kind AND n.user = :named)"


def entity(db: sqlite3.Connection, kind: str, id: str) -> JsonObject | None:
    text = _text(db, kind, id)
    return None if text is None else loads(text)


def entities(db: sqlite3.Connection, kind: str, query: EntityQuery) -> tuple[list[JsonObject], int]:
    """Numeric ids first, the greatest first; then other ids in descending order of their text.

    `equals` costs a parse of every row of the kind, about 1 microsecond per row and 100 bytes.
    Raises ValueError for a field whose name is not letters and underscores.
    """
    where = ["kind = :kind"]
    values: dict[str, object] = {"kind": kind, "limit": min(query.limit, ID_MAX), "offset": min(query.offset, ID_MAX)}
    if query.named is not None:
        where.append(NAMED)
        values["named"] = query.named
    for n, (name, value) in enumerate(query.equals.items()):
        if not FIELD.fullmatch(name):
            raise ValueError(f"not a field name: {name!r}")
        where.append(EQUALS.format(n=n))
        values |= {f"path{n}": f"$.{name}", f"value{n}": value}
    matching = f"FROM entity WHERE {' AND '.join(where)}"
    total: int = db.execute(f"SELECT count(*) {matching}", values).fetchone()[0]
    found = db.execute(f"SELECT row {matching} ORDER BY num DESC, id DESC LIMIT :limit OFFSET :offset", values)
    return [loads(text) for (text,) in found], total


def change(
    db: sqlite3.Connection,
    kind: str,
    id: str,
    function: Callable[[JsonObject | None], JsonObject | None],
    name_fields: Sequence[str],
) -> Change:
    text = _text(db, kind, id)
    try:
        new = function(None if text is None else loads(text))
    except Exception as error:
        raise CallerError(error) from error
    old = None if text is None else loads(text)
    if new is None:
        if old is not None:
            _delete(db, kind, id)
        return Change(old, None)
    return Change(old, _put(db, kind, id, new, name_fields))


def create(
    db: sqlite3.Connection, kind: str, build: Callable[[int], JsonObject], name_fields: Sequence[str]
) -> JsonObject:
    number = _free_number(db, kind)
    try:
        row = build(number)
    except Exception as error:
        raise CallerError(error) from error
    set_head(db, f"entity:{kind}", number)
    db.execute("DELETE FROM entity_gone WHERE kind = ? AND num <= ?", (kind, number))
    return _put(db, kind, str(number), row, name_fields)


def _free_number(db: sqlite3.Connection, kind: str) -> int:
    number = head(db, f"entity:{kind}") + 1
    taken = """SELECT 1 FROM entity WHERE kind = :kind AND id = :id
        UNION ALL SELECT 1 FROM entity_gone WHERE kind = :kind AND num = :num"""
    while db.execute(taken, {"kind": kind, "id": str(number), "num": number}).fetchone():
        number += 1
    return number


def _text(db: sqlite3.Connection, kind: str, id: str) -> str | None:
    found = db.execute("SELECT row FROM entity WHERE kind = ? AND id = ?", (kind, id)).fetchone()
    return found[0] if found else None


def _put(db: sqlite3.Connection, kind: str, id: str, row: JsonObject, name_fields: Sequence[str]) -> JsonObject:
    """Store a row and the people it names; returns the row as it will be read."""
    text = dumps(row)
    number = wire_id(id)
    db.execute(
        """INSERT INTO entity (kind, id, num, row) VALUES (?, ?, ?, ?)
            ON CONFLICT (kind, id) DO UPDATE SET row = excluded.row""",
        (kind, id, number if isinstance(number, int) else None, text),
    )
    people: dict[str, list[str]] = {}
    for name in name_fields:
        if row.get(name) is not None:
            people.setdefault(str(row[name]), []).append(name)
    _set_names(db, kind, id, people)
    stored: JsonObject = loads(text)
    return stored


def _set_names(db: sqlite3.Connection, kind: str, id: str, people: Mapping[str, Sequence[str]]) -> None:
    """Note whom a row names, and in which fields."""
    found = db.execute("SELECT user, fields FROM entity_name WHERE kind = ? AND id = ?", (kind, id)).fetchall()
    before, after = dict(found), {user: dumps(fields) for user, fields in people.items()}
    gone = [(kind, id, user) for user in before if user not in after]
    new = [(kind, id, user, fields) for user, fields in after.items() if before.get(user) != fields]
    db.executemany("DELETE FROM entity_name WHERE kind = ? AND id = ? AND user = ?", gone)
    db.executemany("REPLACE INTO entity_name (kind, id, user, fields) VALUES (?, ?, ?, ?)", new)


def _delete(db: sqlite3.Connection, kind: str, id: str) -> None:
    db.execute("DELETE FROM entity WHERE kind = ? AND id = ?", (kind, id))
    _set_names(db, kind, id, {})
    number = wire_id(id)
    if isinstance(number, int) and number > head(db, f"entity:{kind}"):
        db.execute("INSERT OR IGNORE INTO entity_gone VALUES (?, ?)", (kind, number))
