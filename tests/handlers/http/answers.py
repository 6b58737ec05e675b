"""What refused requests look like, and callers whose tokens outlive a clock that is moved by days."""

from typing import Any

from tests.support import bearer

MONTH = 30 * 86400.0
ADMIN = bearer(1, "admin", lifetime=MONTH)
MANAGER = bearer(2, "manager", lifetime=MONTH)
SERVICE = bearer("backend", "service", lifetime=MONTH)
TECHNICIAN = bearer(3, "technician", lifetime=MONTH)
USER = bearer(5, lifetime=MONTH)
GUEST = bearer(5, guest=True, lifetime=MONTH)

Answer = tuple[int, Any]


def refused(answer: Answer, status: int, code: str, message: str | None = None) -> Any:
    """Check the error body that all five applications can read, and return it."""
    got, body = answer
    assert (got, body["code"]) == (status, code), body
    assert body["status"] == ("fail" if status < 500 else "error")
    assert body["statusCode"] == status
    assert body["message"] == body["error"] != ""
    assert body["errors"]
    for complaint in body["errors"]:
        assert set(complaint) == {"msg", "message"}
        assert complaint["msg"] == complaint["message"] != ""
    assert message is None or body["message"] == message
    return body
