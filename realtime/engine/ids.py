"""Ids of sessions and connections: nobody can guess one, and no two are the same."""

import base64
import secrets

ID_BYTES = 15
ID_LENGTH = 20
"""120 bits as characters of base64url."""

ASKED_AT_ONCE = 128
"""Ids that are made from one question to the kernel, which costs more than all the rest."""


class Ids:
    """Makes ids of 20 characters: letters, digits, `-` and `_`."""

    __slots__ = ("_ready",)

    def __init__(self) -> None:
        self._ready: list[str] = []

    def next(self) -> str:
        if not self._ready:
            text = base64.urlsafe_b64encode(secrets.token_bytes(ID_BYTES * ASKED_AT_ONCE)).decode()
            self._ready = [text[start : start + ID_LENGTH] for start in range(0, len(text), ID_LENGTH)]
        return self._ready.pop()
