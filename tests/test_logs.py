"""Log lines: what is in them, and when they are written."""

import asyncio
import io
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from realtime import logs


class Stream(io.StringIO):
    """Counts how often it was written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@pytest.fixture
def stream() -> Iterator[Stream]:
    before = structlog.get_config()
    stream = Stream()
    logs.configure(level="info", readable=False, stream=stream)
    yield stream
    structlog.configure(**before)


def test_a_line_is_one_json_object_with_its_level_and_time(stream: Stream) -> None:
    structlog.get_logger().info("door opened", user="7", number=3)
    (line,) = stream.lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {"event": "door opened", "user": "7", "number": 3, "level": "info"}


def test_a_logger_may_be_bound_to_values(stream: Stream) -> None:
    structlog.get_logger().bind(user="7", number=1).info("door opened", number=2)
    (line,) = stream.lines
    assert (line["event"], line["user"], line["number"]) == ("door opened", "7", 2)


def test_lines_can_be_captured(stream: Stream) -> None:
    with structlog.testing.capture_logs() as lines:
        structlog.get_logger().info("door opened", user="7")
    assert lines == [{"event": "door opened", "user": "7", "log_level": "info"}]
    assert stream.getvalue() == ""


def test_what_is_below_the_level_is_not_written(stream: Stream) -> None:
    structlog.get_logger().debug("a detail")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("odd", ["half \ud800 character", 2**70, object()], ids=["surrogate", "number", "object"])
def test_a_value_that_json_does_not_have_is_written_somehow(stream: Stream, odd: object) -> None:
    structlog.get_logger().info("odd", value=odd)
    assert stream.events == ["odd"]


def test_a_failure_brings_its_traceback_in_one_line(stream: Stream) -> None:
    try:
        raise ValueError("no\nway")
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    (line,) = stream.lines
    assert "ValueError: no\nway" in line["exception"]
    assert "exc_info" not in line


async def test_lines_of_one_turn_are_written_together(stream: Stream) -> None:
    log = structlog.get_logger()
    for number in range(100):
        log.info("line", number=number)
    assert stream.writes == 0
    await asyncio.sleep(0)
    assert [line["number"] for line in stream.lines] == list(range(100))
    assert stream.writes == 1
    log.info("the next turn's")
    await asyncio.sleep(0)
    assert stream.writes == 2


@pytest.mark.parametrize("level", ["warning", "error", "critical", "exception"])
async def test_a_warning_is_written_at_once_after_what_came_before_it(stream: Stream, level: str) -> None:
    log = structlog.get_logger()
    log.info("before")
    getattr(log, level)("now")
    assert stream.events == ["before", "now"]
    await asyncio.sleep(0)
    assert stream.writes == 1


async def test_another_threads_line_comes_after_those_that_wait(stream: Stream) -> None:
    log = structlog.get_logger()
    log.info("before")
    thread = threading.Thread(target=lambda: log.info("another's"))
    thread.start()
    thread.join()
    assert stream.events == ["before", "another's"]
