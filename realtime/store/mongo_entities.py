"""Business rows as JSON text, found by kind and id, by field values and by the people they name.

A deleted row leaves its document behind without content: its id is not given out again, and whoever did not hear
that their deletion was done finds that it was.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from realtime.models import Change, EntityQuery, JsonObject, wire_id
from realtime.store.documents import dumps, key, loads
from realtime.store.mongo_database import INT_MAX, Document, MongoDatabase

FIELD = re.compile(r"[A-Za-z_]+")

PAST = 16
"""Changes of one row that may come between one whose answer was lost and its next attempt."""

CANDIDATES = 500
"""Ids that are looked at together for a free one."""

LISTED = [("kind", ASCENDING), ("gone", ASCENDING)]
NEWEST = [("num", DESCENDING), ("id", DESCENDING)]
INDEXES = (
    ("entities", IndexModel([*LISTED, *NEWEST])),
    ("entities", IndexModel([*LISTED, ("names", ASCENDING)])),
    ("entities", IndexModel([*LISTED, ("facts", ASCENDING)])),
    ("entities", IndexModel([("names", ASCENDING)])),
)

Function = Callable[[JsonObject | None], JsonObject | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One document: its text (None: there is no row), and the version that a change of it must find."""

    text: str | None
    version: str | None
    past: tuple[str, ...] = ()


class MongoEntities(MongoDatabase):
    """Implements `EntityStore` of `realtime.store.base`."""

    async def entity(self, kind: str, id: str) -> JsonObject | None:
        rows = self.collection("entities")
        found = await self.attempt(lambda: rows.find_one({"_id": key(kind, id)}))
        return _row(found["row"]) if found and not found["gone"] else None

    async def entities(self, kind: str, query: EntityQuery) -> tuple[list[JsonObject], int]:
        """Numeric ids first, the greatest first; then other ids in descending order of their text.

        Raises ValueError for a field whose name is not letters and underscores.
        """
        rows, matching = self.collection("entities"), _matching(kind, query)
        total = await self.attempt(lambda: rows.count_documents(matching))
        if query.limit <= 0:
            return [], total
        skip, limit = min(query.offset, INT_MAX), min(query.limit, INT_MAX)
        found = await self.attempt(
            lambda: rows.find(matching, {"row": 1}).sort(NEWEST).skip(skip).limit(limit).to_list(None)
        )
        return [loads(one["row"]) for one in found], total

    async def change_entity(self, kind: str, id: str, change: Function, *, name_fields: Sequence[str] = ()) -> Change:
        name = key(kind, id)
        async with self.lock(f"entity {name}"):
            mine: dict[str, Change] = {}
            while True:
                row = await self._found_row(name)
                for version in mine.keys() & {*row.past}:
                    return mine[version]  # it was done, only the answer was lost
                new = change(_row(row.text))
                done = Change(_row(row.text), new)
                if done.old is None and new is None:
                    return done
                text = None if new is None else dumps(new)
                done = Change(done.old, _row(text))
                version = secrets.token_hex(8)
                mine[version] = done
                if await self._put_row(kind, id, row, version=version, content=_content(text, name_fields)):
                    return done

    async def create_entity(
        self, kind: str, build: Callable[[int], JsonObject], *, name_fields: Sequence[str] = ()
    ) -> JsonObject:
        """`build` runs again when an upsert takes the id meanwhile."""
        async with self.lock(key("create", kind)):
            while True:
                number = await self.take_numbers(key("entity", kind))
                text = dumps(build(number))
                version = secrets.token_hex(8)
                content = _content(text, name_fields)
                if await self._put_row(kind, str(number), Row(None, None), version=version, content=content):
                    stored: JsonObject = loads(text)
                    return stored
                await self._skip_taken(kind, number)

    async def _found_row(self, name: str) -> Row:
        rows = self.collection("entities", latest=True)
        found = await self.attempt(lambda: rows.find_one({"_id": name}))
        if found is None:
            return Row(None, None)
        return Row(None if found["gone"] else found["row"], found["version"], tuple(found["past"]))

    async def _put_row(self, kind: str, id: str, row: Row, *, version: str, content: Document) -> bool:
        """Write a row where `row` is still what is there. False when it is not, or the answer was lost."""
        rows, name = self.collection("entities"), key(kind, id)
        content = {**content, "version": version}
        if row.version is not None:
            past = {"past": {"$each": [version], "$slice": -PAST}}
            where = {"_id": name, "version": row.version}
            done = await self.attempt(lambda: rows.update_one(where, {"$set": content, "$push": past}))
            return bool(done.matched_count)
        number = wire_id(id)
        num = number if isinstance(number, int) else None
        document = {"_id": name, "kind": kind, "id": id, "num": num, **content, "past": [version]}
        try:
            await self.attempt(lambda: rows.insert_one(document))
        except DuplicateKeyError:
            return version in (await self._found_row(name)).past
        return True

    async def _skip_taken(self, kind: str, number: int) -> None:
        """Let the next id be the first free one after `number`, as far as one look goes."""
        rows, heads = self.collection("entities", latest=True), self.collection("heads")
        names = {key(kind, str(one)): one for one in range(number + 1, number + CANDIDATES)}
        found = await self.attempt(lambda: rows.find({"_id": {"$in": [*names]}}, {"_id": 1}).to_list(None))
        taken = {names[one["_id"]] for one in found}
        free = next((one for one in names.values() if one not in taken), number + CANDIDATES)
        await self.attempt(lambda: heads.update_one({"_id": key("entity", kind)}, {"$max": {"value": free - 1}}))


def _row(text: str | None) -> JsonObject | None:
    return None if text is None else loads(text)


def _content(text: str | None, name_fields: Sequence[str]) -> Document:
    """Return what a document says of a row."""
    row = _row(text)
    if row is None:
        return {"gone": True, "row": None, "names": [], "fields": [], "facts": []}
    names = {str(row[name]) for name in name_fields if row.get(name) is not None}
    return {"gone": False, "row": text, "names": sorted(names), "fields": list(name_fields), "facts": _facts(row)}


def _facts(row: Mapping[str, object]) -> list[str]:
    """Return the fields that `equals` may ask for: strings as they are, numbers and booleans as JSON writes them."""
    texts = {name: _text(value) for name, value in row.items() if FIELD.fullmatch(name)}
    return sorted(key(name, text) for name, text in texts.items() if text is not None)


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return dumps(value).strip() if isinstance(value, bool | int | float) else None


def _matching(kind: str, query: EntityQuery) -> Document:
    matching: Document = {"kind": kind, "gone": False}
    if query.named is not None:
        matching["names"] = query.named
    for name in query.equals:
        if not FIELD.fullmatch(name):
            raise ValueError(f"not a field name: {name!r}")
    if query.equals:
        matching["facts"] = {"$all": [key(name, value) for name, value in query.equals.items()]}
    return matching
