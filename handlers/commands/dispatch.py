"""One client event: find its command, count it, run it, and always return an acknowledgement."""

from collections.abc import Mapping, Sequence

import structlog

from handlers.commands import presence, rooms, session, typing
from handlers.commands.base import Bucket, Command, CommandServices
from handlers.commands.patience import within
from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.events import ErrorRaised
from realtime.metrics import Metrics
from realtime.publisher import Publisher
from realtime.ratelimit import RateLimiter

log = structlog.get_logger(__name__)

COMMANDS: Mapping[str, Command] = {
    **presence.COMMANDS,
    **rooms.COMMANDS,
    **session.COMMANDS,
    **typing.COMMANDS,
}
COMMAND_SECONDS = 10.0
OK = "ok"
ERROR_EVENT_SECONDS = 5.0


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
        metrics: Metrics,
    ) -> None:
        self._commands = {name: COMMANDS[command] for name, command in inbound.items()}
        self._services = services
        # Found by the buckets' values: hashing a member of an enum is a call into Python, for every event.
        self._limits = {bucket.value: limiter for bucket, limiter in limits.items()}
        self._publisher = publisher
        self._clock = clock
        # Looking a counter up by its label costs more than counting.
        self._outcomes = {outcome: metrics.client_events.labels(outcome) for outcome in (OK, *Code)}
        # One `error` event per person in five seconds is itself a rate.
        self._error_events = RateLimiter(per_minute=60 / ERROR_EVENT_SECONDS, burst=1)

    async def run(self, session: Session, event: str, args: Sequence[object]) -> dict[str, object]:
        """Return the acknowledgement, ``{success: true, ...}`` or ``{success: false, code, message, error}``."""
        try:
            answer = await self._run(session, event, args)
        except RealtimeError as error:
            self._outcomes[error.code].inc()
            return error.ack()
        except TimeoutError:
            log.error(
                "websocket event timed out", sid=session.sid, user=session.identity.id, websocket_event=event[:40]
            )
        except Exception as error:
            log.error(
                "websocket event failed",
                sid=session.sid,
                user=session.identity.id,
                websocket_event=event[:40],
                exc_info=error,
            )
        else:
            self._outcomes[OK].inc()
            return {"success": True, **answer}
        self._outcomes[Code.INTERNAL].inc()
        return RealtimeError(Code.INTERNAL, "Internal server error").ack()

    async def _run(self, session: Session, event: str, args: Sequence[object]) -> Mapping[str, object]:
        command = self._commands.get(event)
        self._count(session, event, command.bucket if command else Bucket.MESSAGES)
        if command is None:
            raise RealtimeError(Code.UNKNOWN_EVENT, "Unknown event")
        answer = command.run(self._services, session, args[0] if args else None)
        if isinstance(answer, dict):
            return answer
        return await within(COMMAND_SECONDS, answer)

    def _count(self, session: Session, event: str, bucket: Bucket) -> None:
        """Count the event against its sender's rate. Raises RATE_LIMIT_EXCEEDED; the connection stays."""
        if bucket is Bucket.EXEMPT:
            return
        limiter = self._limits.get(bucket.value)
        wait = limiter.hit(session.identity.principal, self._clock()) if limiter is not None else None
        if wait is None:
            self._services.presence.beat(session)
            return
        error = RealtimeError(
            Code.RATE_LIMIT_EXCEEDED, f"Rate limit exceeded, try again in {wait:g} seconds", retry_after=wait
        )
        self.report(session, event, error.ack())
        raise error

    def report(self, session: Session, event: object, answer: Mapping[str, object]) -> None:
        """Send a refusal as an `error` event, too: once per person in five seconds."""
        if self._error_events.hit(session.identity.principal, self._clock()) is not None:
            return
        wait = answer.get("retryAfter")
        raised = ErrorRaised(
            self._clock(),
            code=str(answer["code"]),
            message=str(answer["message"]),
            event=event[:128] if isinstance(event, str) else None,
            retry_after=wait if isinstance(wait, float) else None,
        )
        self._publisher.publish_to_connection(raised, session.sid)
