from pathlib import Path

from realtime.models import Content, InboxQuery, Target
from realtime.store.mongo import MongoStore
from realtime.store.sqlite import SqliteStore
from realtime.wiring.stores import open_store
from tests.support import settings_for

ANN = "user:1"


async def test_the_url_says_which_database_it_is(tmp_path: Path) -> None:
    assert isinstance(open_store(settings_for(tmp_path)), SqliteStore)
    assert isinstance(open_store(settings_for(tmp_path, database_url="mongodb://localhost/roomcast")), MongoStore)


async def test_the_settings_say_what_is_kept(tmp_path: Path) -> None:
    store = open_store(settings_for(tmp_path, inbox_max_rows=2))
    await store.open()
    try:
        for _ in range(3):
            await store.add([Target(recipient=ANN)], Content("t", "t", "m"), sender=None, now=1.0)
        assert (await store.inbox(ANN, InboxQuery(), now=2.0))[1] == 2
    finally:
        await store.close()
