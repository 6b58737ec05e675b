"""What errors of the driver and of the server mean for whoever asked."""

from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
)

DUPLICATE = 11000
FAILOVER_CODES = frozenset({
    6, 7, 50, 63, 64, 89, 91, 112, 150, 189, 202, 246, 262, 317, 9001,
    10058, 10107, 11600, 11602, 13388, 13435, 13436, 133, 134, 234,
})  # fmt: skip
"""Of the server: unreachable hosts, elections, shutdowns, write concerns not met in time, and writes in conflict."""

REFUSED_CODES = frozenset({13, 18, 8000})
"""Of the server: this user may not."""

TOO_LARGE_CODES = frozenset({10334, 17280, 17419, 17420})


def visible(error: Exception) -> bool:
    """Whether an error says only that a unique key is taken; callers rely on that."""
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        failures = details.get("writeErrors", [])
        return not details.get("writeConcernErrors") and all(one.get("code") == DUPLICATE for one in failures)
    return isinstance(error, DuplicateKeyError)


def passing(error: Exception) -> bool:
    """Whether an error may be gone at the next attempt."""
    if isinstance(error, ConnectionFailure):
        return True
    if not isinstance(error, OperationFailure):
        return False
    labelled = error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError")
    return labelled or not codes(error).isdisjoint(FAILOVER_CODES)


def invalid(error: Exception) -> bool:
    """Whether it is what was to be stored that is at fault."""
    if isinstance(error, BSONError | OverflowError | UnicodeError):
        return True
    return not codes(error).isdisjoint(TOO_LARGE_CODES)


def refused(error: BaseException | None) -> bool:
    return isinstance(error, ConfigurationError) or not codes(error).isdisjoint(REFUSED_CODES)


def codes(error: BaseException | None) -> set[int]:
    """Return all error codes of the server that an error has."""
    if not isinstance(error, OperationFailure):
        return set()
    found = {error.code or 0}
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        for kind in ("writeErrors", "writeConcernErrors"):
            found |= {int(one.get("code", 0)) for one in details.get(kind, [])}
    return found


def described(error: Exception) -> str:
    """Return what may be logged of an error: neither an address nor what was to be stored."""
    numbers = sorted(codes(error) - {0})
    return f"{type(error).__name__} {numbers}" if numbers else type(error).__name__
