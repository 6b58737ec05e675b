"""From the figures of all rounds to one table and one file."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peers import FLOOR, NODE, PEERS, ROOMCAST, STOCK
from phases import PHASES, Figures, Plan

FLAT = 1.25
NONE = "-"
RATIOS = ((ROOMCAST, FLOOR), (NODE, ROOMCAST), (STOCK, ROOMCAST))


@dataclass(frozen=True, slots=True)
class Record:
    """The figures of one phase with one peer in one round."""

    phase: str
    clients: int
    peer: str
    round: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table. `ratios` are the targets of RATIOS: at most for the floor, at least for the others."""

    name: str
    label: str
    unit: str
    at_most: float = math.inf
    at_least: float = -math.inf
    ratios: dict[str, float] = field(default_factory=dict)

    def target(self) -> str:
        parts = [f"<= {_number(self.at_most)}"] if self.at_most < math.inf else []
        parts += [f">= {_number(self.at_least)}"] if self.at_least > -math.inf else []
        for peer, limit in self.ratios.items():
            parts.append(f"<= {limit:g} x {peer}" if peer == FLOOR else f"{peer} >= {limit:g} x")
        return ", ".join(parts)

    def verdict(self, values: dict[str, float]) -> str:
        """met or MISSED, or nothing when it has no target or what it is compared with was not measured."""
        mine = values.get(ROOMCAST)
        if mine is None:
            return ""
        checks: list[bool | None] = [mine <= self.at_most, mine >= self.at_least]
        for peer, limit in self.ratios.items():
            found = ratio(values, *((ROOMCAST, peer) if peer == FLOOR else (peer, ROOMCAST)))
            checks.append(None if found is None else found <= limit if peer == FLOOR else found >= limit)
        if False in checks:
            return "MISSED"
        return "" if None in checks or not self.target() else "met"


MEASURES = {
    "core": (
        Measure("connect_us", "connect + JWT + joins, CPU per client", "us", at_most=320),
        Measure("connects_per_second", "  connects, bounded by the load", "/s"),
        Measure("rss_bytes", "RSS per idle connection", "bytes", at_most=6144),
        Measure("delivery_us", "room broadcast, CPU per delivery", "us", ratios={FLOOR: 1.3, NODE: 1.5, STOCK: 6.0}),
        Measure("deliveries_per_second", "  deliveries, bounded by the load", "/s"),
        Measure("ack_us", "client event with ack, CPU per event", "us", at_most=20),
        Measure("disconnect_us", "disconnect, CPU per client", "us", at_most=50),
    ),
    "coalescing": (
        Measure("burst_1_us", "client's event answered by 1 event, CPU", "us"),
        Measure("burst_5_us", "client's event answered by 5 events, CPU", "us"),
        Measure("burst_ratio", "  5 events / 1", "x", at_most=2),
        Measure("fan_1_us", "1 event to every client, CPU per client", "us"),
        Measure("fan_5_us", "5 events to every client, CPU per client", "us"),
        Measure("fan_ratio", "  5 events / 1", "x"),
    ),
    "deflate": (
        Measure("large_us", "without compression, CPU per delivery", "us"),
        Measure("deflated_us", "permessage-deflate, CPU per delivery", "us"),
        Measure("deflating", "share of clients that got permessage-deflate", "", at_least=1),
        Measure("deflate_rss_bytes", "RSS that it adds per connection", "bytes", at_most=2048),
    ),
    "slow": (
        Measure("slow_rss_bytes", "RSS kept for it of 60 MB", "bytes", at_most=2 << 20),
        Measure("slow_cut_seconds", "cut after", "s", at_most=10),
        Measure("slow_delay_ms", "longest delay of the others", "ms"),
        Measure("slow_usual_delay_ms", "  the same without it", "ms"),
    ),
    "inbox": (
        Measure("posts_per_second", "durable POST, delivered, 64 at a time", "/s", at_least=2000),
        Measure("post_answered_p99_ms", "  99 of 100 answered within", "ms", at_most=50),
        Measure("post_delivered_p99_ms", "  99 of 100 delivered within", "ms", at_most=50),
        Measure("post_cpu_us", "  CPU per POST", "us"),
        Measure("broadcast_store_ms", "broadcast to everybody known, store", "ms", at_most=5),
        Measure("broadcast_answered_ms", "  slowest of 20 answered within", "ms", at_most=100),
        Measure("broadcast_bytes", "  growth of the database", "bytes", at_most=100 * 1024),
        Measure("unread_ms", "unread count, 1000 rows and 500 broadcasts", "ms", at_most=1),
        Measure("counts_ms", "  with its categories", "ms"),
        Measure("page_ms", "first page of that inbox", "ms"),
        Measure("mark_all_ms", "mark all of it read", "ms"),
        Measure("changes_ms", "sync after 10 changes, store", "ms", at_most=3),
        Measure("sync_http_ms", "  over HTTP", "ms", at_most=3),
        Measure("import_seconds", "import of 200,000 users", "s", at_most=20),
        Measure("connect_full_ratio", "connect CPU, inboxes full / empty", "x", at_most=1.1),
    ),
    "inbox-mongodb": (
        Measure("posts_per_second", "durable POST, delivered, 4 at a time", "/s"),
        Measure("post_answered_p99_ms", "  99 of 100 answered within", "ms"),
        Measure("post_delivered_p99_ms", "  99 of 100 delivered within", "ms"),
        Measure("post_cpu_us", "  CPU per POST", "us"),
    ),
    "stall": (
        Measure("idle_stall_ms", "longest stall, all idle", "ms", at_most=20),
        Measure("idle_median_ms", "  median round-trip of the probe", "ms"),
        Measure("drop_stall_ms", "longest stall, mass disconnect", "ms", at_most=100),
        Measure("drop_waited_ms", "  the probe's waits for its own core, in all", "ms"),
    ),
}
FLATNESS = Measure("flatness", "disconnect, largest N / smallest N", "x", at_most=FLAT)

Values = dict[str, dict[str, float]]
"""Measure to peer to value."""


@dataclass(frozen=True, slots=True)
class Group:
    phase: str
    clients: int
    title: str
    values: Values


def ratio(values: dict[str, float], above: str, below: str) -> float | None:
    over, under = values.get(above), values.get(below)
    return None if over is None or not under or math.inf in (over, under) else over / under


def groups(records: Sequence[Record]) -> list[Group]:
    """The median round of everything, by phase and number of clients."""
    found = []
    for phase in PHASES:
        for clients in sorted({one.clients for one in records if one.phase == phase}):
            alike = [one for one in records if (one.phase, one.clients) == (phase, clients)]
            title = PHASES[phase].title.format(f"{clients:,}")
            found.append(Group(phase, clients, title, _medians(alike)))
    return found


def _medians(records: Iterable[Record]) -> Values:
    series: dict[str, dict[str, list[float]]] = {}
    for one in records:
        for name, value in one.figures.items():
            series.setdefault(name, {}).setdefault(one.peer, []).append(value)
    return {name: {peer: statistics.median(seen) for peer, seen in by.items()} for name, by in series.items()}


def _number(value: float | None) -> str:
    if value is None:
        return NONE
    if value == math.inf:
        return "never"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(records: Sequence[Record]) -> str:
    """Rows are measures; columns are the peers, their ratios, the target and whether it is met."""
    header = ["", "unit", *PEERS, *(f"{above}/{below}" for above, below in RATIOS), "target", ""]
    rows: list[list[str]] = [header]
    found = groups(records)
    for group in found:
        rows.append([group.title.upper()])
        rows += [_row(one, group.values[one.name]) for one in MEASURES[group.phase] if one.name in group.values]
    flat = _flatness([group for group in found if group.phase == "core"])
    if flat:
        rows += [["ALL SIZES"], _row(FLATNESS, flat)]
    widths = [max(len(row[at]) for row in rows if len(row) > at) for at in range(len(header))]
    return "\n".join("  ".join(_aligned(row, widths)).rstrip() for row in rows)


def _row(measure: Measure, values: dict[str, float]) -> list[str]:
    cells = [measure.label, measure.unit, *(_number(values.get(peer)) for peer in PEERS)]
    for above, below in RATIOS:
        found = ratio(values, above, below)
        cells.append(NONE if found is None else f"{found:.2f}")
    return [*cells, measure.target(), measure.verdict(values)]


def _aligned(row: list[str], widths: list[int]) -> Iterable[str]:
    numbers = range(2, 2 + len(PEERS) + len(RATIOS))
    for at, cell in enumerate(row):
        yield cell.rjust(widths[at]) if at in numbers else cell.ljust(widths[at])


def _flatness(found: Sequence[Group]) -> dict[str, float]:
    if len(found) < 2:
        return {}
    small, large = (group.values.get("disconnect_us", {}) for group in (found[0], found[-1]))
    return {peer: large[peer] / small[peer] for peer in large if small.get(peer)}


def save(path: Path, machine: dict[str, Any], plan: Plan, records: Sequence[Record], failures: Sequence[str]) -> None:
    """Writes everything; `null` stands for what never happened."""
    document = {
        "machine": machine,
        "plan": asdict(plan),
        "summary": [asdict(group) for group in groups(records)],
        "rounds": [asdict(one) for one in records],
        "failures": list(failures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(_plain(document), indent=2, allow_nan=False) + "\n")
    unfinished.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value
