"""One client event: find its command, count it, run it, and always return an acknowledgement."""

import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import structlog

from handlers.commands import dashboard, messaging, notifications, presence, rooms, session, typing
from handlers.commands.base import Ack, Answer, Bucket, Command, CommandServices
from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.eager import within
from realtime.errors import Code, RealtimeError
from realtime.events import ErrorRaised, RateExceeded
from realtime.metrics import Metrics
from realtime.publisher import Publisher
from realtime.ratelimit import RateLimiter, exceeded

log = structlog.get_logger(__name__)

COMMANDS: Mapping[str, Command] = {
    **dashboard.COMMANDS,
    **messaging.COMMANDS,
    **notifications.COMMANDS,
    **presence.COMMANDS,
    **rooms.COMMANDS,
    **session.COMMANDS,
    **typing.COMMANDS,
}
COMMAND_SECONDS = 10.0
OK = "ok"
ERROR_EVENT_SECONDS = 5.0


def error_event_rate() -> RateLimiter:
    """One `error` event per person in five seconds is itself a rate."""
    return RateLimiter(per_minute=60 / ERROR_EVENT_SECONDS, burst=1)


class Dispatcher:
    """Runs the commands of one vocabulary. `inbound` maps wire names to commands."""

    def __init__(
        self,
        *,
        inbound: Mapping[str, str],
        services: CommandServices,
        limits: Mapping[Bucket, RateLimiter],
        publisher: Publisher,
        clock: Clock,
        error_events: RateLimiter,
        metrics: Metrics,
    ) -> None:
        """`limits` and `error_events` are those of all vocabularies: a person's sockets share their rates."""
        self._commands = {name: COMMANDS[command] for name, command in inbound.items()}
        self._services = services
        # Found by the buckets' values: hashing a member of an enum is a call into Python, for every event.
        self._limits = {bucket.value: limiter for bucket, limiter in limits.items()}
        self._publisher = publisher
        self._clock = clock
        # Looking a counter up by its label costs more than counting.
        self._outcomes = {outcome: metrics.client_events.labels(outcome) for outcome in (OK, *Code)}
        self._error_events = error_events

    def run(self, session: Session, event: str, args: Sequence[object]) -> Answer | Coroutine[Any, Any, Answer]:
        """Return the acknowledgement, ``{success: true, ...}`` or ``{success: false, code, message, error}``.

        A command that has to wait for something returns a coroutine of it; most have not, and cost no task.
        """
        try:
            answer = self._start(session, event, args)
        except Exception as error:  # noqa: BLE001  the top of every command
            return self._failed(session, event, error)
        if isinstance(answer, dict):
            return self._succeeded(answer)
        return self._finish(session, event, answer)

    def _start(self, session: Session, event: str, args: Sequence[object]) -> Ack | Coroutine[Any, Any, Ack]:
        command = self._commands.get(event)
        self._count(session, event, command.bucket if command else Bucket.MESSAGES)
        if command is None:
            raise RealtimeError(Code.UNKNOWN_EVENT, "Unknown event")
        return command.run(self._services, session, args[0] if args else None)

    async def _finish(self, session: Session, event: str, running: Coroutine[Any, Any, Ack]) -> Answer:
        try:
            answer = await within(COMMAND_SECONDS, running)
        except Exception as error:  # noqa: BLE001  the top of every command
            return self._failed(session, event, error)
        return self._succeeded(answer)

    def _succeeded(self, answer: Ack) -> Answer:
        self._outcomes[OK].inc()
        return {"success": True, **answer}

    def _failed(self, session: Session, event: str, error: Exception) -> Answer:
        if isinstance(error, RealtimeError):
            self._outcomes[error.code].inc()
            return error.ack()
        who = {"sid": session.sid, "user": session.identity.id, "websocket_event": event[:40]}
        if isinstance(error, TimeoutError):
            log.error("websocket event timed out", **who)
        else:
            log.error("websocket event failed", exc_info=error, **who)
        self._outcomes[Code.INTERNAL].inc()
        return RealtimeError(Code.INTERNAL, "Internal server error").ack()

    def _count(self, session: Session, event: str, bucket: Bucket) -> None:
        """Count the event against its sender's rate. Raises RATE_LIMIT_EXCEEDED; the connection stays."""
        if bucket is Bucket.EXEMPT:
            return
        limiter = self._limits.get(bucket.value)
        wait = limiter.hit(session.identity.principal, self._clock()) if limiter is not None else None
        if wait is None:
            self._services.presence.beat(session)
            return
        error = exceeded(wait)
        self.report(session, event, error.ack())
        raise error

    def refuse(self, session: Session, error: RealtimeError) -> None:
        """Answer what is no event at all with an `error` event; within the sender's rate, beyond it with nothing."""
        with contextlib.suppress(RealtimeError):
            self._count(session, "", Bucket.MESSAGES)
            self._outcomes[error.code].inc()
            self._publisher.publish_to_connection(ErrorRaised(self._clock(), error.code, error.message), session)

    def report(self, session: Session, event: object, answer: Mapping[str, object]) -> None:
        """Send a refusal as an `error` event, too: once per person in five seconds."""
        if self._error_events.hit(session.identity.principal, self._clock()) is not None:
            return
        wait = answer.get("retryAfter")
        kind = RateExceeded if answer["code"] == Code.RATE_LIMIT_EXCEEDED else ErrorRaised
        raised = kind(
            self._clock(),
            code=str(answer["code"]),
            message=str(answer["message"]),
            event=event[:128] if isinstance(event, str) and event else None,
            retry_after=wait if isinstance(wait, float) else None,
        )
        self._publisher.publish_to_connection(raised, session)
