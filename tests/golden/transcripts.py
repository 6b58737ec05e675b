"""Transcripts: text files that say, line by line, what clients send and what they must receive.

A file begins with prose. A line ``== title`` begins a scene, which has a server and a clock of its own:

    with max_connections_per_user=1       settings of the scene's server; a comma makes a list
    # POST /api/activity {"userId":7}     an HTTP call by the administrator, or by somebody else: ``... as bob``
    # 201 {"status":"success"}            what it must answer; the body may be left out
    # 61 seconds pass                     the clock moves
    # the server stops
    # anything else is a remark
    + WS /dashboard?token=<token of ann>  a WebSocket is opened, or with GET a stream; headers may follow after ``|``
    > 40/dashboard,                       the client sends this text; ``> close`` closes
    < 42["connected",{"at":"<time>"}]     the server sends this text; ``< close 1008 Invalid token`` closes,
                                          ``< end`` ends a stream, ``< refused 403`` is an upgrade that is refused
    100 times:                            the indented lines that follow

With several connections, their names come first: ``bob < ...``. Frames of one connection must come in this order and
byte for byte, and nothing else may come; the next line is played when a frame has arrived, so that what two clients
cause does not race.

``<...>`` is a mask: `<time>`, `<sid>`, `<date>`, `<seconds>` and `<revision>` stand for anything of their form,
`<handshake>` for Engine.IO's first packet, and the line ``< <head>`` for the head of a stream. `<id>` and `<place>`,
also with a number (`<id2>`), are whatever came first, and the same from then on. What clients and callers send may
contain these, `<token of ann>`, `<short token of ann>` (60 s), `<old token of ann>` and `<in a minute>`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FORMS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "date": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
    "sid": r"[\w-]{16,}",
    "seconds": r"\d+(?:\.\d+)?",
    "id": r"\d{1,16}",
    "place": r"[\d.~]{9,400}",
    "revision": r"\d{1,16}",
    "handshake": r'\{"sid":"[\w-]{16,}","upgrades":\[\],'
    r'"pingTimeout":20000,"pingInterval":30000,"maxPayload":1000000\}',
}
REMEMBERED = ("id", "place")
MASK = re.compile(r"<([a-z][a-z ]*\d*)>")
LINE = re.compile(r"(?:(?P<who>\w+) )?(?P<sign>[+<>]) ?(?P<text>.*)")
CALL = re.compile(r"# (?P<method>[A-Z]+) (?P<path>/(?:<[^>]*>|\S)*)(?: (?P<body>\{.*\}))?(?: as (?P<who>\w+))?")
ANSWER = re.compile(r"# (?P<status>\d{3})(?: (?P<body>.*))?")
PAUSE = re.compile(r"# (?P<seconds>[\d.]+) seconds? pass(?:es)?")
TIMES = re.compile(r"(?P<count>\d+) times:")


@dataclass(frozen=True)
class Open:
    who: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Say:
    who: str
    text: str


@dataclass(frozen=True)
class Hear:
    who: str
    text: str


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: str | None
    who: str


@dataclass(frozen=True)
class Answer:
    status: int
    body: str | None


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Stop:
    """The server goes down."""


Value = int | str | tuple[str, ...]
Step = Open | Say | Hear | Call | Answer | Pause | Stop


@dataclass
class Scene:
    """`steps` are (line number, step)."""

    file: str
    title: str
    settings: dict[str, Value] = field(default_factory=dict)
    steps: list[tuple[int, Step]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.file}: {self.title}"


class Unreadable(ValueError):
    """A line of a transcript means nothing."""


def read(path: Path) -> list[Scene]:
    """Return the scenes of a file. Raises Unreadable."""
    scenes: list[Scene] = []
    times: list[tuple[int, int, list[tuple[int, Step]]]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("== "):
            scenes.append(Scene(path.name, line[3:]))
        if line.startswith("== ") or not scenes:
            continue
        scene, indented = scenes[-1], line.startswith("  ")
        if times and not indented:
            _, count, block = times.pop()
            scene.steps += block * count
        steps = times[-1][2] if times else scene.steps
        repeated = TIMES.fullmatch(line)
        if repeated:
            times.append((number, int(repeated["count"]), []))
        elif line.startswith("with "):
            scene.settings |= dict(map(_setting, line.split()[1:]))
        else:
            steps += [(number, step) for step in _steps(line.strip(), f"{path.name}:{number}")]
    return scenes


def _setting(text: str) -> tuple[str, Value]:
    name, _, value = text.partition("=")
    if "," in value:
        return name, tuple(word for word in value.split(",") if word)
    return name, int(value) if value.isdigit() else value


def _steps(line: str, place: str) -> Iterator[Step]:
    if not line:
        return
    if line.startswith("#"):
        step = _remark(line)
        if step is not None:
            yield step
        return
    found = LINE.fullmatch(line)
    if found is None:
        raise Unreadable(f"{place}: {line!r}")
    who, text = found["who"] or "", found["text"]
    if found["sign"] == "+":
        request, *headers = text.split(" | ")
        method, _, path = request.partition(" ")
        yield Open(who, method, path, dict(header.split(": ", 1) for header in headers))
    else:
        yield Say(who, text) if found["sign"] == ">" else Hear(who, text)


def _remark(line: str) -> Step | None:
    if line == "# the server stops":
        return Stop()
    if found := PAUSE.fullmatch(line):
        return Pause(float(found["seconds"]))
    if found := CALL.fullmatch(line):
        return Call(found["method"], found["path"], found["body"], found["who"] or "admin")
    if found := ANSWER.fullmatch(line):
        return Answer(int(found["status"]), found["body"])
    return None


class Memory:
    """What the masks of one scene stand for."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = dict(known)

    def matches(self, pattern: str, text: str) -> bool:
        """Whether a text is what a line with masks says; remembers what stood for `<id>` and the like."""
        groups: dict[str, str] = {}
        found = re.fullmatch(self._regex(pattern, groups), text)
        if found is None:
            return False
        self._known |= {name: found[group] for group, name in groups.items()}
        return True

    def _regex(self, pattern: str, groups: dict[str, str]) -> str:
        parts, end = [], 0
        for mask in MASK.finditer(pattern):
            parts += [re.escape(pattern[end : mask.start()]), self._form(mask[1], groups)]
            end = mask.end()
        return "".join([*parts, re.escape(pattern[end:])])

    def _form(self, name: str, groups: dict[str, str]) -> str:
        kind = name.rstrip("0123456789")
        if kind not in REMEMBERED:
            return FORMS[kind]
        if name in self._known:
            return re.escape(self._known[name])
        for group, known in groups.items():
            if known == name:
                return f"(?P={group})"
        group = f"mask{len(groups)}"
        groups[group] = name
        return f"(?P<{group}>{FORMS[kind]})"

    def filled(self, text: str) -> str:
        """Return a line with what its masks stand for. Raises KeyError for one that nothing stood for yet."""
        return MASK.sub(lambda mask: self._known[mask[1]], text)
