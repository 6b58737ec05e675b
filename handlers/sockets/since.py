"""The place in its inbox that a client says it knows when it connects."""

from collections.abc import Mapping

from realtime.services.inbox_pages import ALL


def asked_since(query: Mapping[str, str], auth: object = None) -> str | None:
    """Return the token of ``auth: {since}``, else of the query; None when a client asks for nothing.

    null, or anything else that is no text, means the whole inbox.
    """
    if isinstance(auth, dict) and "since" in auth:
        return auth["since"] if isinstance(auth["since"], str) else ALL
    return query.get("since")
