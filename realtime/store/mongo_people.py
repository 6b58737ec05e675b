"""All that is known of one user: to hand it out, and to forget it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from realtime.models import Draft, JsonObject, Notification, Principal, user_principal
from realtime.store import mongo_rows as rows
from realtime.store.documents import dumps, key, loads
from realtime.store.mongo_database import Document
from realtime.store.mongo_entities import MongoEntities
from realtime.store.mongo_messages import FORGOTTEN
from realtime.store.mongo_receipts import MongoReceipts

BATCH = 500
"""Documents that one command removes."""

SCAN_SECONDS = 60.0
"""How long one question may take that no index answers."""

NAMES_GUESTS = frozenset({"communication"})
"""Kinds of business rows that name guests, whose ids are not those of users."""

Which = Mapping[str, tuple[str, Document]]


def of_user(id: str) -> Which:
    """Return documents that are about the user and nobody else: collection and which."""
    principal = user_principal(id)
    return {
        "users": ("users", {"_id": key(id)}),
        "notifications": ("inbox", {"user": principal, "gone_at": None}),
        "tombstones": ("inbox", {"user": principal, "gone_at": {"$ne": None}}),
        "drafts": ("drafts", {"user": principal}),
        "receipts": ("receipts", {"reader": principal}),
        "messages": ("messages", {"people": id}),
        "conversations": ("conversations", {"$or": [{"user": id}, {"other": id}]}),
        "devices": ("devices", {"owner": principal}),
        "requests": ("requests", {"principal": principal}),
        "dedup_keys": ("dedup", {"$or": [{"user": principal}, {"sender": principal}]}),
    }


def sent_by(id: str) -> Which:
    """Return what the user sent others, who keep it."""
    principal = user_principal(id)
    return {
        "sent_notifications": ("inbox", {"sender": principal, "user": {"$ne": principal}}),
        "sent_broadcasts": ("log", {"sender": principal}),
        "sent_drafts": ("drafts", {"sender": principal, "user": {"$ne": principal}}),
    }


class MongoPeople(MongoReceipts, MongoEntities):
    """Implements `PeopleStore` of `realtime.store.base`."""

    async def export_user(self, id: str) -> dict[str, list[JsonObject]]:
        """Return notifications, drafts and the user as the services know them, other rows as they are stored.

        It is not of one moment: what is written meanwhile may be there or not.
        """
        await self.settle_reader(user_principal(id))
        found = {
            kind: [_shown(kind, one) for one in await self._all(name, which)]
            for kind, (name, which) in {**of_user(id), **sent_by(id)}.items()
        }
        for kind, known in (await self._known_of_reader(user_principal(id))).items():
            found[kind] = [_readable(one) for one in known]
        naming = await self._naming(id)
        found["business_rows"] = [{"kind": one["kind"], "row": loads(one["row"])} for one in naming]
        return found

    async def delete_user(self, id: str) -> dict[str, int]:
        """Whoever is interrupted here deletes again, and ends it."""
        await self.settle_reader(user_principal(id))
        return await self.complete(self._delete_user(id))

    async def _delete_user(self, id: str) -> dict[str, int]:
        principal = user_principal(id)
        gone = {kind: await self._unsign(name, which) for kind, (name, which) in sent_by(id).items()}
        gone["business_rows"] = await self._unname(id) + await self._unsign_rows(principal)
        async with self.lock(f"inbox {principal}"):
            gone |= await self._forget_reader(principal)
            for kind, (name, which) in of_user(id).items():
                gone[kind] = await self._remove(name, which)
        gone["exclusions"] = await self._include("log", principal) + await self._include("drafts", principal)
        if gone["sent_broadcasts"] or gone["exclusions"]:
            self.forget_log()
        return {kind: count for kind, count in gone.items() if count}

    async def _all(self, name: str, which: Document) -> list[Document]:
        documents = self.collection(name)
        return await self.attempt(lambda: documents.find(which).sort("_id", 1).to_list(None), within=SCAN_SECONDS)

    async def _known_of_reader(self, principal: Principal) -> dict[str, list[Document]]:
        """Return what the document of a reader says, by kind."""
        readers = self.collection("readers", latest=True)
        found = await self.attempt(lambda: readers.find_one({"_id": principal, "version": {"$exists": True}})) or {}
        held = found.get("held", [])
        return {
            "memberships": [one for one in held if not one["dropped"]],
            "former_memberships": [one for one in held if one["dropped"]],
            "read_cursors": found.get("read", []),
            "seen_cursors": found.get("seen", []),
            "marks": [{"seq": int(seq), **mark} for seq, mark in found.get("marks", {}).items()],
            "deliveries": [{"seq": seq} for seq in found.get("delivered", [])],
        }

    async def _forget_reader(self, principal: Principal) -> dict[str, int]:
        """Leave of a reader only which numbers they had: who knows some of them must read everything anew."""
        readers = self.collection("readers", latest=True)
        async with self.lock(f"reader {principal}"):
            known = await self._known_of_reader(principal)
            newest = await self.newest_rev(principal, latest=True)
            there = await self.attempt(lambda: readers.find_one({"_id": principal})) or {}
            if newest or "version" in there:
                bare = {"_id": principal, "floor": max(newest, there.get("floor", 0)) + 1, "by": None}
                await self.attempt(lambda: readers.replace_one({"_id": principal}, bare, upsert=True))
        return {kind: len(some) for kind, some in known.items()}

    async def _remove(self, name: str, which: Document) -> int:
        """Remove documents, in portions; returns how many."""
        count = 0
        while found := await self._ids_of(name, which):
            done = await self._remove_some(name, found)
            count += done
            if name == "messages":
                await self._count_forgotten(done)
        return count

    async def _remove_some(self, name: str, ids: Sequence[object]) -> int:
        documents = self.collection(name)
        done = await self.attempt(lambda: documents.delete_many({"_id": {"$in": [*ids]}}))
        return int(done.deleted_count)

    async def _ids_of(self, name: str, which: Document) -> list[object]:
        documents = self.collection(name, latest=True)
        found = await self.attempt(
            lambda: documents.find(which, {"_id": 1}).limit(BATCH).to_list(None), within=SCAN_SECONDS
        )
        return [one["_id"] for one in found]

    async def _count_forgotten(self, count: int) -> None:
        heads, change = self.collection("heads"), {"$inc": {"value": count}}
        await self.attempt(lambda: heads.update_one({"_id": FORGOTTEN}, change, upsert=True))

    async def _unsign(self, name: str, which: Document) -> int:
        """Take the sender from what others have; returns of how many."""
        documents = self.collection(name)
        change = {"$set": {"sender": None}}
        done = await self.attempt(lambda: documents.update_many(which, change), within=SCAN_SECONDS)
        return int(done.modified_count)

    async def _include(self, name: str, principal: Principal) -> int:
        """Take the user from the lists of those who must not see a row."""
        documents, change = self.collection(name), {"$pull": {"excluded": principal}}
        done = await self.attempt(lambda: documents.update_many({"excluded": principal}, change), within=SCAN_SECONDS)
        return int(done.modified_count)

    async def _naming(self, id: str) -> list[Document]:
        return [one for one in await self._all("entities", {"names": id}) if one["kind"] not in NAMES_GUESTS]

    async def _unname(self, id: str) -> int:
        """Take the fields that name the user from business rows; returns from how many."""
        naming = await self._naming(id)
        for one in naming:
            await self._rewrite_row(one, _without(one["fields"], id))
        return len(naming)

    async def _unsign_rows(self, principal: Principal) -> int:
        """Take the user from fields that say who posted a row; they stay, as their services read them."""
        pattern = {"row": {"$regex": re.escape(dumps(principal))}}
        posted = [one for one in await self._all("entities", pattern) if principal in loads(one["row"]).values()]
        for one in posted:
            await self._rewrite_row(one, _blank(principal))
        return len(posted)

    async def _rewrite_row(self, document: Document, change: Callable[[JsonObject], JsonObject]) -> None:
        def rewritten(row: JsonObject | None) -> JsonObject | None:
            return None if row is None else change(row)

        await self.change_entity(document["kind"], document["id"], rewritten, name_fields=document["fields"])


def _without(fields: Sequence[str], id: str) -> Callable[[JsonObject], JsonObject]:
    return lambda row: {name: value for name, value in row.items() if name not in fields or str(value) != id}


def _blank(principal: Principal) -> Callable[[JsonObject], JsonObject]:
    return lambda row: {name: None if value == principal else value for name, value in row.items()}


def _shown(kind: str, document: Document) -> JsonObject:
    if kind in ("notifications", "sent_notifications") and document["gone_at"] is None:
        return _row(rows.notification(document))
    if kind in ("drafts", "sent_drafts"):
        return _row(rows.draft(document))
    if kind == "sent_broadcasts":
        return _row(rows.broadcast(document).notification)
    return _readable(document)


def _row(row: Notification | Draft) -> JsonObject:
    shown = asdict(row)
    shown["target"]["excluded"] = sorted(row.target.excluded)
    return shown


def _readable(document: Mapping[str, object]) -> JsonObject:
    """Return a document as JSON."""
    return {name: _value(value) for name, value in document.items()}


def _value(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if isinstance(value, datetime) else value
