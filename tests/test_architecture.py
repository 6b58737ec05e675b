"""Imports point one way only, proved from the code's own imports."""

import ast
import graphlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("rooms", "realtime", "handlers")

# Lowest first. Groups of one level are siblings, which never import each other; a group may import itself, and
# everything below. `x.*` is the package x with all of its modules.
LEVELS: Sequence[Sequence[Sequence[str]]] = (
    (("realtime",), ("realtime.errors",), ("rooms.*",)),
    (
        (
            "realtime.clock",
            "realtime.wire",
            "realtime.models",
            "realtime.places",
            "realtime.rows",
            "realtime.events",
            "realtime.settings",
            "realtime.metrics",
            "realtime.remote",
        ),
    ),
    (("realtime.auth", "realtime.shared_secrets"), ("realtime.ratelimit",)),
    (
        ("realtime.store.*",),
        ("realtime.dialects.*",),
        ("realtime.outbound",),
        ("realtime.logs",),
        ("realtime.engine.*",),
    ),
    (("realtime.publisher", "realtime.fanout"),),
    (("realtime.services.*",),),
    (("handlers.*",),),
    (("realtime.ticker", "realtime.app", "realtime.wiring.*"),),
    (("realtime.serving", "realtime.eventloop", "realtime.commands.*", "realtime.__main__"),),
)

OPEN_ADAPTERS = {"realtime.store": "realtime.store.base", "realtime.dialects": "realtime.dialects.base"}
"""Packages of which only the wiring knows the implementations, and the one module that anybody may import."""

LATE_IMPORTS: Mapping[tuple[str, str], str] = {
    ("realtime.wiring.stores", "realtime.store.mongo"): "the driver takes 0.1 s and 16 MB, of those who use SQLite too",
}
"""(module, imported name) -> why it cannot be at the top of the file."""

IMPURE = frozenset({"time", "datetime", "random", "secrets", "asyncio", "threading", "os", "socket", "logging"})


@cache
def modules() -> Mapping[str, ast.Module]:
    """Return every module of the product by its dotted name; a package is named like its directory."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(), filename=str(path))
    return found


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield (module, line) of every import; `from package import module` is an import of that module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in modules() else base), node.lineno


def ours(name: str) -> bool:
    return name.split(".")[0] in PACKAGES


def edges() -> Iterator[tuple[str, str, int]]:
    for module, tree in modules().items():
        yield from ((module, target, line) for target, line in imports(tree) if ours(target))


def matches(module: str, pattern: str) -> bool:
    package = pattern.removesuffix(".*")
    return module == package or (package != pattern and module.startswith(package + "."))


def place(module: str) -> tuple[int, int]:
    """Return (level, group) of a module. Raises LookupError for one that the design does not know."""
    for level, groups in enumerate(LEVELS):
        for group, patterns in enumerate(groups):
            if any(matches(module, pattern) for pattern in patterns):
                return level, group
    raise LookupError(f"{module} has no place in the import direction: give it one in LEVELS")


def may_import(importer: str, imported: str) -> bool:
    upper, lower = place(importer), place(imported)
    return upper == lower or upper[0] > lower[0]


def test_every_module_has_a_place() -> None:
    assert modules()
    for module in modules():
        place(module)


def test_every_place_has_a_module() -> None:
    patterns = [pattern for groups in LEVELS for group in groups for pattern in group]
    assert [p for p in patterns if not any(matches(module, p) for module in modules())] == []


def test_imports_point_down() -> None:
    wrong = [f"{a}:{line} imports {b}" for a, b, line in edges() if not may_import(a, b)]
    assert wrong == []


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("realtime.app", "handlers.http.base", True),
        ("handlers.http.base", "realtime.services.rooms", True),
        ("realtime.services.rooms", "realtime.services.directory", True),
        ("realtime.services.rooms", "handlers.http.base", False),
        ("realtime.engine.server", "realtime.auth", True),
        ("realtime.engine.server", "realtime.publisher", False),
        ("realtime.engine.server", "realtime.dialects.root", False),
        ("realtime.store.sqlite", "realtime.dialects.base", False),
        ("realtime.auth", "realtime.ratelimit", False),
        ("realtime.errors", "rooms.names", False),
        ("rooms.names", "realtime.errors", False),
        ("rooms.policy", "rooms.names", True),
    ],
)
def test_the_direction_is_the_one_of_the_design(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


def test_no_imports_go_round_in_circles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for importer, imported, _ in edges():
        graph[importer].add(imported)
    graphlib.TopologicalSorter(graph).prepare()


def test_imports_are_absolute() -> None:
    relative = [
        f"{module}:{node.lineno}"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_only_the_app_knows_concrete_stores_and_dialects() -> None:
    nosy = [
        f"{importer}:{line} imports {imported}"
        for importer, imported, line in edges()
        for package, interface in OPEN_ADAPTERS.items()
        if matches(imported, f"{package}.*")
        and imported != interface
        and not matches(importer, f"{package}.*")
        and not any(matches(importer, maker) for maker in ("realtime.app", "realtime.wiring.*"))
    ]
    assert nosy == []


def pure_modules() -> list[str]:
    return [module for module in modules() if matches(module, "rooms.*")]


@pytest.mark.parametrize("module", pure_modules())
def test_the_domain_imports_only_the_standard_library_and_itself(module: str) -> None:
    outside = [
        name
        for name, _ in imports(modules()[module])
        if not matches(name, "rooms.*") and name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert outside == []


@pytest.mark.parametrize("module", pure_modules())
def test_the_domain_reads_no_clock_draws_no_numbers_and_does_no_io(module: str) -> None:
    assert [name for name, _ in imports(modules()[module]) if name.split(".")[0] in IMPURE] == []


@pytest.mark.parametrize("module", pure_modules())
def test_the_domain_never_awaits(module: str) -> None:
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    comprehensions = [node for node in ast.walk(modules()[module]) if isinstance(node, ast.comprehension)]
    assert not any(isinstance(node, asynchronous) for node in ast.walk(modules()[module]))
    assert not any(node.is_async for node in comprehensions)


def reads_environment(tree: ast.Module) -> bool:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in names:
                return True
        elif isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names}:
            return True
    return any(name.split(".")[0] in ("environs", "dotenv") for name, _ in imports(tree))


def test_only_the_settings_read_the_environment() -> None:
    assert [module for module, tree in modules().items() if reads_environment(tree)] == ["realtime.settings"]


def late_imports() -> set[tuple[str, str]]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return {
        (module, name)
        for module, tree in modules().items()
        for function in ast.walk(tree)
        if isinstance(function, functions)
        for name, _ in imports(function)
    }


def test_imports_are_at_the_top_of_the_file() -> None:
    assert late_imports() == set(LATE_IMPORTS)
