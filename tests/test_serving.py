"""What the HTTP server has to say of requests that it could not read."""

from aiohttp import web
from structlog.testing import capture_logs

from realtime.serving import LINES_PER_MINUTE, _one_line_logger


def test_unreadable_requests_do_not_fill_the_log() -> None:
    logger = _one_line_logger()
    with capture_logs() as lines:
        for _ in range(LINES_PER_MINUTE + 40):
            logger.error("x" * 500)
    assert len(lines) == LINES_PER_MINUTE
    assert all(line["reason"] == "x" * 200 for line in lines)


def test_a_broken_body_that_was_answered_is_no_line_of_its_own() -> None:
    logger = _one_line_logger()
    with capture_logs() as lines:
        try:
            raise web.RequestPayloadError("not deflated")
        except web.RequestPayloadError:
            logger.exception("Unhandled exception")
        try:
            raise ValueError("something else")
        except ValueError:
            logger.exception("a fault")
    assert [line["reason"] for line in lines] == ["a fault"]
