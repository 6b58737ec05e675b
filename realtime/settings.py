"""Every setting: one frozen dataclass, one documented field per environment variable, parsed once at start.

Only this module reads the environment. README's table is generated from the fields: `python -m realtime.settings`.
"""

import ipaddress
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from environs import Env, EnvError

from realtime.models import Retention

DAY = 86400.0
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ALGORITHMS = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
MIN_SECRET_BYTES = 32
MAX_TOPIC = 100
MAX_DAYS = 36_500
DEV_SECRET = Path("data/dev-secret")
HOW_TO_MAKE_A_SECRET = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"  # noqa: S105

_MONGO_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s/?#@:,\[\]]+)(?::\d{1,5})?"
_MONGO = re.compile(
    rf"mongodb(\+srv)?://([^\s/?#@]+@)?{_MONGO_HOST}(,{_MONGO_HOST})*/[A-Za-z0-9_-]{{1,63}}(\?[^\s#@]*)?", re.ASCII
)
_LOGIN = re.compile(r"(?<=://)[^/?#]*@")
_OPTION = re.compile(r"([?&;])([^=&;]*)(=?)([^&;]*)")
_HARMLESS_OPTIONS = frozenset({
    "appname", "authmechanism", "authsource", "compressors", "connecttimeoutms", "directconnection", "journal",
    "loadbalanced", "maxidletimems", "maxpoolsize", "maxstalenessseconds", "minpoolsize", "readconcernlevel",
    "readpreference", "replicaset", "retryreads", "retrywrites", "serverselectiontimeoutms", "sockettimeoutms", "ssl",
    "tls", "tlsallowinvalidcertificates", "tlsinsecure", "w", "waitqueuetimeoutms", "wtimeoutms",
})  # fmt: skip
"""Options of a database's URL, in small letters, whose values may be shown."""


class BadSetting(ValueError):
    """A variable has a value that cannot be used; the message begins with its name."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")
        self.variable = variable


Parser = Callable[[str], Any]


def _integer(low: int, high: int) -> Parser:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number, not {text!r}") from None
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}")
        return value

    return parse


def _seconds(low: float, high: float) -> Parser:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"must be a number of seconds, not {text!r}") from None
        if not low <= value <= high:
            raise ValueError(f"must be between {low:g} and {high:g} seconds")
        return value

    return parse


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _ports(text: str) -> tuple[int, ...]:
    return tuple(_integer(1, 65535)(word) for word in _words(text))


def _topics(text: str) -> tuple[str, ...]:
    words = _words(text)
    for word in words:
        if not word.isprintable() or len(word) > MAX_TOPIC:
            raise ValueError(f"{word[:40]!r} is not the name of a channel (at most {MAX_TOPIC} printable characters)")
    return words


def _algorithms(text: str) -> tuple[str, ...]:
    words = _words(text)
    unknown = [word for word in words if word not in ALGORITHMS]
    if unknown or not words:
        raise ValueError(f"must be one or more of {', '.join(ALGORITHMS)}")
    return words


def _origins(text: str) -> tuple[str, ...]:
    origins = []
    for word in _words(text):
        parts = urlsplit(word)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or "*" in word:
            raise ValueError(f"{word!r} is not an origin like https://app.example.com (a list, no wildcards)")
        origins.append(f"{parts.scheme}://{parts.netloc}".lower())
    return tuple(origins)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(word, strict=False) for word in _words(text))


def _choice(*allowed: str) -> Parser:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _url(text: str) -> str:
    """There may be a password in it: what is wrong is said without repeating any of it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("must be an http or https URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    return text


def _database(text: str) -> str:
    """A password is in it: what is wrong is said without repeating any of it."""
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        return text
    if text.startswith(("mongodb://", "mongodb+srv://")):
        if not _MONGO.fullmatch(text):
            raise ValueError(
                "must be mongodb://host/name or mongodb+srv://host/name, with user:password@ if need be (special "
                "characters in them percent-encoded) and the name of a database (letters, digits, _ and -)"
            )
        return text
    raise ValueError(
        "must be sqlite:///relative/path.db, sqlite:////absolute/path.db, mongodb://host/name or "
        "mongodb+srv://host/name"
    )


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise ValueError(f"there is no file {text}")
    return Path(text)


def _setting(
    doc: str, parse: Parser, default: Any = None, *, shown: str | None = None, secret: bool = False, also: str = ""
) -> Any:
    metadata = {"doc": doc, "parse": parse, "secret": secret, "shown": shown, "also": _words(also)}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective configuration. The variable of a field is its name in capitals."""

    host: str = _setting("address to listen on", str, "127.0.0.1")
    port: int = _setting("port to listen on; 0 takes a free one", _integer(0, 65535), 3000)
    extra_ports: tuple[int, ...] = _setting("more ports, for clients that know others: `3001,5000`", _ports, ())
    jwt_secret: str | None = _setting(
        "key of HS256 tokens, at least 32 bytes; `--dev` makes one in `data/dev-secret`", str, secret=True
    )
    jwt_secret_previous: str | None = _setting("the key before it, still accepted during a rotation", str, secret=True)
    jwt_jwks_url: str | None = _setting("URL of the JWK set that verifies asymmetric tokens", _url)
    jwt_algorithms: tuple[str, ...] = _setting(
        "accepted algorithms; with `JWT_JWKS_URL` the default is RS256,ES256, and HS256 if there is a secret",
        _algorithms,
        ("HS256",),
        shown="HS256",
    )
    jwt_audience: str | None = _setting("required `aud` claim; not checked when unset", str)
    jwt_issuer: str | None = _setting("required `iss` claim; not checked when unset", str)
    jwt_leeway: float = _setting("seconds a token lives beyond its `exp`", _seconds(0, 600), 30.0)
    jwt_require_exp: bool = _setting("refuse tokens without `exp`", _flag, True)
    database_url: str = _setting(
        "`sqlite:///path.db` (four slashes for an absolute path), or `mongodb://user:password@host/name`",
        _database,
        "sqlite:///data/realtime.db",
    )
    inbox_max_rows: int = _setting(
        "notifications kept for one user, the newest ones; broadcasts are not counted", _integer(1, 1_000_000), 10_000
    )
    archive_days: int = _setting("days that an archived notification is kept; 0 = for ever", _integer(0, MAX_DAYS), 90)
    retention_days: int = _setting(
        "days that any notification to a named user is kept; 0 = for ever", _integer(0, MAX_DAYS), 0
    )
    broadcast_days: int = _setting(
        "days that a broadcast without `expiresAt` is kept; 0 = for ever", _integer(0, MAX_DAYS), 365
    )
    receipt_days: int = _setting(
        "days that is kept what happened to notifications; 0 = for ever", _integer(0, MAX_DAYS), 30
    )
    tombstone_days: int = _setting(
        "days in which a client that was away is told only what has changed", _integer(1, 365), 30
    )
    allowed_origin: tuple[str, ...] = _setting(
        "comma list of browser origins; the server's own is always allowed, `--dev` adds localhost",
        _origins,
        (),
        shown="same origin",
        also="CLIENT_URL,FRONTEND_URL",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        "comma list of networks whose X-Forwarded-For, -Proto and -Host are believed", _networks, ()
    )
    ping_interval: float = _setting("seconds between pings", _seconds(0.1, 3600), 30.0)
    ping_timeout: float = _setting("seconds a client may take to answer one", _seconds(0.1, 3600), 20.0)
    rate_limit_per_minute: int = _setting(
        "messages a user may send in a minute; 0 = no limit", _integer(0, 1_000_000), 100
    )
    max_connections_per_user: int = _setting(
        "connections of one user to `/dashboard`, and as many to `/ws`; 0 = no limit", _integer(0, 1_000_000), 5
    )
    max_connections_per_namespace: int = _setting(
        "connections to `/dashboard`, and as many to `/ws`; 0 = no limit", _integer(0, 10_000_000), 1000
    )
    connection_limit_policy: Literal["reject", "evict"] = _setting(
        "what one connection of a user too many does: `reject` refuses it, `evict` closes the user's oldest",
        _choice("reject", "evict"),
        "reject",
    )
    restricted_channels: tuple[str, ...] = _setting(
        "comma list of dashboard channels that need the right to publish, or a grant in the token", _topics, ()
    )
    open_communications: bool | None = _setting(
        "open `/api/communications` to requests without a token", _flag, shown="false (true with `--dev`)"
    )
    presence_grace: float = _setting(
        "seconds between somebody's last disconnect and their being offline", _seconds(0, 600), 5.0
    )
    presence_audience: Literal["all", "rooms", "none"] = _setting(
        "who hears presence on `/`: `all`, `rooms` (those who share a room), `none`",
        _choice("all", "rooms", "none"),
        "all",
    )
    room_auth_url: str | None = _setting(
        "asked (signed POST) whether somebody may join a room of a row that does not name them", _url
    )
    room_auth_secret: str | None = _setting("key of that signature; required with `ROOM_AUTH_URL`", str, secret=True)
    connections_per_ip: int = _setting(
        "open connections from one address, of every kind; 0 = no limit", _integer(0, 1_000_000), 0
    )
    handshakes_per_minute_per_ip: int = _setting(
        "new connections a minute from one address; 0 = no limit", _integer(0, 1_000_000), 600
    )
    failed_logins_per_minute_per_ip: int = _setting(
        "refused tokens a minute from one address; 0 = no limit", _integer(0, 1_000_000), 60
    )
    slow_client_policy: Literal["disconnect", "drop_oldest"] = _setting(
        "what happens to a client that does not read: `disconnect`, or `drop_oldest` of what it has not read",
        _choice("disconnect", "drop_oldest"),
        "disconnect",
    )
    slow_client_buffer: int = _setting("bytes kept for a client that does not read", _integer(65_536, 1 << 30), 1 << 20)
    metrics_token: str | None = _setting("Bearer token that opens `/metrics` beyond loopback", str, secret=True)
    tls_cert: Path | None = _setting("certificate chain (PEM), to serve TLS directly", _file)
    tls_key: Path | None = _setting("its private key (PEM)", _file)
    log_level: str = _setting(
        "`debug`, `info`, `warning` or `error`", _choice("debug", "info", "warning", "error"), "info"
    )

    @property
    def database_path(self) -> Path:
        """Where the file of a SQLite database is."""
        return Path(self.database_url.removeprefix("sqlite:///"))

    @property
    def retention(self) -> Retention:
        return Retention(
            max_rows=self.inbox_max_rows,
            archived=self.archive_days * DAY,
            rows=self.retention_days * DAY,
            broadcasts=self.broadcast_days * DAY,
            receipts=self.receipt_days * DAY,
            tombstones=self.tombstone_days * DAY,
        )


def load(env_file: str | Path = ".env") -> Settings:
    """Read `env_file` if it exists, then the environment, which wins. Raises BadSetting."""
    env = Env()
    try:
        if Path(env_file).is_file():
            env.read_env(env_file, recurse=False)
    except (EnvError, OSError, ValueError) as error:
        raise BadSetting(str(env_file), f"cannot be read: {error}") from error
    given = {spec.name: value for spec in fields(Settings) if (value := _read(env, spec)) is not None}
    if "jwt_jwks_url" in given and "jwt_algorithms" not in given:
        given["jwt_algorithms"] = ("RS256", "ES256", *(["HS256"] if "jwt_secret" in given else []))
    if env.str("REDIS_URL", ""):
        raise BadSetting("REDIS_URL", "this version runs as one process; unset it")
    settings = Settings(**given)
    _check_together(settings)
    return settings


def _read(env: Env, spec: Field[Any]) -> Any:
    """Return the parsed value of a field's variable or of its aliases, or None when none is set."""
    for variable in (spec.name.upper(), *spec.metadata["also"]):
        text = env.str(variable, "").strip()
        if text:
            try:
                return spec.metadata["parse"](text)
            except ValueError as error:
                # A secret must not come back in the message, and parsers of secrets never fail.
                raise BadSetting(variable, str(error)) from error
    return None


def _check_together(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise BadSetting("TLS_KEY" if settings.tls_cert else "TLS_CERT", "TLS_CERT and TLS_KEY go together")
    if settings.room_auth_url and not settings.room_auth_secret:
        raise BadSetting("ROOM_AUTH_SECRET", "is required with ROOM_AUTH_URL")
    if any(a.startswith(("RS", "PS", "ES", "Ed")) for a in settings.jwt_algorithms) and not settings.jwt_jwks_url:
        raise BadSetting("JWT_JWKS_URL", "asymmetric JWT_ALGORITHMS need the URL of their keys")


def check_secrets(settings: Settings, *, dev: bool = False) -> None:
    """Refuse to serve with no key, and but for development with a short one.

    Raises BadSetting that says how to make a good one.
    """
    needs_secret = any(algorithm.startswith("HS") for algorithm in settings.jwt_algorithms)
    if needs_secret and not settings.jwt_secret:
        raise BadSetting("JWT_SECRET", f"is not set; make one with: {HOW_TO_MAKE_A_SECRET}")
    for variable in ("jwt_secret", "jwt_secret_previous"):
        value = cast(str | None, getattr(settings, variable))
        if value and not dev and len(value.encode()) < MIN_SECRET_BYTES:
            raise BadSetting(
                variable.upper(), f"is shorter than {MIN_SECRET_BYTES} bytes; make one with: {HOW_TO_MAKE_A_SECRET}"
            )


def dev_secret(path: Path = DEV_SECRET) -> str:
    """Return the development key, making it (mode 0600) when there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and (known := path.read_text().strip()):
        return known
    path.unlink(missing_ok=True)  # an empty one is what a crash left
    secret = secrets.token_urlsafe(48)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    return secret


def effective(settings: Settings) -> list[tuple[str, str]]:
    """Return (variable, value) of every setting, secrets masked."""
    rows = []
    for spec in fields(Settings):
        value = getattr(settings, spec.name)
        if spec.metadata["secret"]:
            shown = "(set, hidden)" if value else "(not set)"
        elif spec.name in ("jwt_jwks_url", "room_auth_url", "database_url") and value:
            shown = without_credentials(value)
        else:
            shown = _show(value)
        rows.append((spec.name.upper(), shown))
    return rows


def without_credentials(url: str) -> str:
    """Return a URL to show: who logs in with what is masked, and all options but those known to be harmless."""
    if url.startswith("sqlite:"):
        return url
    address, mark, options = _LOGIN.sub("***@", url).partition("?")
    return address + _OPTION.sub(_option_shown, mark + options)


def _option_shown(option: re.Match[str]) -> str:
    before, name, equals, _ = option.groups()
    if name.lower() in _HARMLESS_OPTIONS:
        return option[0]
    return f"{before}{name}=***" if equals else f"{before}***"


def _show(value: object) -> str:
    if value is None or value == ():
        return "(not set)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def table() -> str:
    """Return the Markdown table of README."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for spec in fields(Settings):
        names = " or ".join(f"`{name}`" for name in (spec.name.upper(), *spec.metadata["also"]))
        default = spec.metadata["shown"] or ("" if spec.default in (None, ()) else _show(spec.default))
        lines.append(f"| {names} | {default or 'none'} | {spec.metadata['doc']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
