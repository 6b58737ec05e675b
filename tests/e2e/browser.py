"""The headless browser, and pages in it."""

import os
import shutil
from dataclasses import dataclass
from typing import Any

from tests.e2e.node import Script, skip

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "deviceScaleFactor": 2,
    "isMobile": True,
    "hasTouch": True,
}


def chromium() -> str:
    """Return the path of the system's Chromium, or skip."""
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        skip("chromium is not installed (CHROMIUM may name another one)")
    return str(path)


@dataclass(frozen=True)
class Page:
    """A page in a browser context of its own. Elements are named by their data-testid."""

    script: Script
    name: str

    def go(self, url: str) -> None:
        self._call("goto", url)

    def click(self, id: str) -> None:
        self._call("click", _selector(id))

    def fill(self, id: str, text: str) -> None:
        self._call("fill", _selector(id), text)

    def type(self, id: str, text: str) -> None:
        self._call("type", _selector(id), text)

    def select(self, id: str, value: str) -> None:
        self._call("selectOption", _selector(id), value)

    def text(self, id: str) -> str:
        return str(self._call("textContent", _selector(id)))

    def value(self, id: str) -> str:
        return str(self._call("inputValue", _selector(id)))

    def shows(self, id: str, text: str) -> None:
        """Return when the element's text is exactly that."""
        self._until("([selector, text]) => document.querySelector(selector)?.textContent.trim() === text", id, text)

    def mentions(self, id: str, text: str) -> None:
        """Return when the element's text has that in it."""
        self._until("([selector, text]) => document.querySelector(selector)?.textContent.includes(text)", id, text)

    def omits(self, id: str, text: str) -> None:
        """Return when the element's text has that in it no more."""
        self._until("([selector, text]) => !document.querySelector(selector).textContent.includes(text)", id, text)

    def run(self, script: str, argument: Any = None) -> Any:
        """Return what a JavaScript function of one argument returns in the page."""
        return self.script.call("evaluate", name=self.name, script=script, argument=argument)

    def becomes_true(self, script: str, argument: Any = None) -> None:
        self.script.call("until", name=self.name, script=script, argument=argument, what=script)

    def screenshot(self, path: str, *, full: bool = True) -> None:
        """Save what the page shows from its top on; `full` goes on below the window."""
        self.run("() => scrollTo(0, 0)")
        self._call("screenshot", {"path": path, "fullPage": full})

    def seen(self) -> tuple[list[str], set[str]]:
        """Return (errors, hosts): everything that went wrong on the page, and whom it has talked to."""
        seen = self.script.call("seen", name=self.name)
        return seen["errors"], set(seen["hosts"])

    def _until(self, script: str, id: str, text: str) -> None:
        what = f"{id} does not come to {text!r}"
        self.script.call("until", name=self.name, script=script, argument=[_selector(id), text], what=what)

    def _call(self, method: str, *args: Any) -> Any:
        return self.script.call("page", name=self.name, method=method, args=args)


def _selector(id: str) -> str:
    return f'[data-testid="{id}"]'


class Browser(Script):
    """One Chromium process."""

    def __init__(self) -> None:
        super().__init__("browser.mjs", CHROMIUM=chromium())
        self._opened = 0

    def open(self, **options: Any) -> Page:
        self._opened += 1
        page = Page(self, f"page {self._opened}")
        self.call("open", name=page.name, options=options)
        return page

    def close(self) -> None:
        """Close every page."""
        self.call("close")
