"""Ids that nobody can guess."""

import re
from unittest.mock import patch

from realtime.engine import ids


def test_ids_are_20_characters_that_fit_every_place_and_differ() -> None:
    made = ids.Ids()
    some = [made.next() for _ in range(3 * ids.ASKED_AT_ONCE)]
    assert len(set(some)) == len(some)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", id) for id in some)


def test_every_id_is_all_of_its_own_random_bytes() -> None:
    with patch("secrets.token_bytes", side_effect=bytes) as asked:
        made = ids.Ids()
        assert {made.next() for _ in range(ids.ASKED_AT_ONCE)} == {"A" * 20}
        asked.assert_called_once_with(15 * ids.ASKED_AT_ONCE)
        made.next()
        assert asked.call_count == 2
