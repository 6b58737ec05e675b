"""The event stream as a browser reads it: an EventSource in a page, with the cookie of its user."""

from dataclasses import dataclass
from typing import Any, Self

from tests.e2e.browser import Browser, Page

_SIGN_IN = """async (token) => {
  const answer = await fetch("/api/auth/cookie", {method: "POST", headers: {Authorization: `Bearer ${token}`}});
  return answer.status;
}"""
_OPEN = """(path) => {
  globalThis.heard = [];
  globalThis.opened = 0;
  globalThis.source = new EventSource(path);
  source.onopen = () => { opened += 1; };
  source.onmessage = ({data, lastEventId}) => heard.push({...JSON.parse(data), lastEventId});
}"""
_HEARS = """([type, fields]) => heard.some((each) => each.type === type
  && Object.entries(fields).every(([name, value]) => each.data?.[name] === value))"""


@dataclass(frozen=True)
class Stream:
    page: Page

    @classmethod
    def open(cls, browser: Browser, url: str, token: str, path: str = "/notifications/events") -> Self:
        """Sign in and open the stream, on a page of the server's own origin."""
        page = browser.open()
        page.go(f"{url}/healthz")
        assert page.run(_SIGN_IN, token) == 200
        page.run(_OPEN, path)
        page.becomes_true("() => opened === 1")
        return cls(page)

    def hears(self, type: str, **fields: Any) -> None:
        """Return when an event of that type with these fields has come."""
        self.page.becomes_true(_HEARS, [type, fields])

    def heard(self, type: str) -> list[Any]:
        """Return the data of all such events until now, in order."""
        return [each.get("data") for each in self.everything() if each["type"] == type]

    def everything(self) -> list[Any]:
        heard: list[Any] = self.page.run("() => heard")
        return heard

    def titles(self) -> list[str]:
        return [data["title"] for data in self.heard("notification")]

    def counts(self) -> list[int]:
        return [data["count"] for data in self.heard("unread_count")]
