"""The server as its users run it: a process of its own, in a directory of its own, with nothing but its settings."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support import SECRET

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01
T = TypeVar("T")
_LISTENING = re.compile(r"listening on (http://\S+?:(\d+))")
_LEAKS = re.compile(r"eyJ[\w-]{8,}\.|[Tt]oken=")


class TimedOut(AssertionError):
    """Something did not come true in time."""


def wait_until(condition: Callable[[], T | None], *, what: str, seconds: float = 10.0) -> T:
    """Return the condition's first true value. Raises TimedOut after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimedOut(f"{what} did not come true in {seconds:g} s")
        time.sleep(POLL_SECONDS)
    return value


def environment(**settings: object) -> dict[str, str]:
    """Return the whole environment of a process: what Python needs, and the settings that are not None."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    given = {name: str(value) for name, value in settings.items() if value is not None}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **given}


def roomcast(*args: str, cwd: Path, **settings: object) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "realtime", *args],
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


class Server:
    """``python -m realtime serve`` on a free port. It can be stopped, killed and started again on the same port.

    Its database, its log (stderr of all its lives) and its output are files in `home`.
    """

    def __init__(self, home: Path, *, dev: bool = False, **settings: object) -> None:
        self.home = home
        self.port = 0
        self.log_file = home / "server.log"
        self.output_file = home / "server.out"
        self._dev = dev
        self._settings: dict[str, object] = {
            "JWT_SECRET": SECRET,
            "PRESENCE_GRACE": 0.1,
            "LOG_LEVEL": "debug",
            "HANDSHAKES_PER_MINUTE_PER_IP": 0,
            "DATABASE_URL": f"sqlite:///{home / 'realtime.db'}",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server has not been started"
        return self._process

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start it and return when it listens. Raises TimedOut when it takes longer."""
        seen = len(self.log) if self.log_file.exists() else 0
        command = [sys.executable, "-m", "realtime", "serve", "--port", str(self.port), *(["--dev"] * self._dev)]
        with self.log_file.open("ab") as log, self.output_file.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self.home, env=environment(**self._settings), stdout=output, stderr=log
            )

        def listening() -> re.Match[str] | None:
            if self.running.poll() is not None:
                raise AssertionError(f"the server ended with {self.running.returncode}: {self.log[seen:]}")
            return _LISTENING.search(self.log, seen)

        found = wait_until(listening, what="the line `listening on`", seconds=seconds)
        self.port = int(found[2])

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self.running.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Return its exit code."""
        return self.running.wait(seconds)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.running.kill()
        self.running.wait()

    def stop(self) -> None:
        """Stop it in good order, if it runs, and see that no secret has reached its log."""
        if self._process is not None and self._process.poll() is None:
            self.terminate()
            try:
                code = self.wait()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            assert code == 0, self.log[-2000:]
        self.check_log()

    def check_log(self) -> None:
        """Fail when the log holds anything like a token, the key, or a failure of the server's own."""
        for line in self.log.splitlines():
            assert not _LEAKS.search(line), f"a token in the log: {line[:300]}"
            assert SECRET not in line, f"the key in the log: {line[:300]}"
            assert "Traceback" not in line, f"a failure in the log: {self.log[-4000:]}"
