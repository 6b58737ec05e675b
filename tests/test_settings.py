import dataclasses
import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from realtime import settings as module
from realtime.__main__ import main
from realtime.models import Retention
from realtime.settings import BadSetting, Settings, check_secrets, dev_secret, effective, load

README = Path(__file__).resolve().parent.parent / "README.md"
LONG = "x" * 32
FIELDS = {spec.name: spec for spec in dataclasses.fields(Settings)}
SECRETS = [name for name, spec in FIELDS.items() if spec.metadata["secret"]]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An empty directory and an environment without any of our variables, put back afterwards."""
    monkeypatch.chdir(tmp_path)
    ours = {name.upper() for name in FIELDS} | {alias for spec in FIELDS.values() for alias in spec.metadata["also"]}
    kept = {name: value for name, value in os.environ.items() if name not in ours | {"REDIS_URL"}}
    with mock.patch.dict(os.environ, kept, clear=True):
        yield monkeypatch


def loaded(**variables: str) -> Settings:
    os.environ.update(variables)
    return load()


def complaint(**variables: str) -> BadSetting:
    with pytest.raises(BadSetting) as caught:
        loaded(**variables)
    return caught.value


# --- what is parsed ---

GOOD: dict[str, tuple[str, object]] = {
    "HOST": ("0.0.0.0", "0.0.0.0"),
    "PORT": ("8080", 8080),
    "EXTRA_PORTS": ("3001, 5000", (3001, 5000)),
    "JWT_SECRET": (LONG, LONG),
    "JWT_SECRET_PREVIOUS": (LONG, LONG),
    "JWT_JWKS_URL": ("https://id.example.com/jwks", "https://id.example.com/jwks"),
    "JWT_ALGORITHMS": ("HS256,HS384", ("HS256", "HS384")),
    "JWT_AUDIENCE": ("roomcast", "roomcast"),
    "JWT_ISSUER": ("us", "us"),
    "JWT_LEEWAY": ("2.5", 2.5),
    "JWT_REQUIRE_EXP": ("false", False),
    "DATABASE_URL": ("sqlite:////var/lib/roomcast.db", "sqlite:////var/lib/roomcast.db"),
    "INBOX_MAX_ROWS": ("1", 1),
    "ARCHIVE_DAYS": ("0", 0),
    "RETENTION_DAYS": ("400", 400),
    "BROADCAST_DAYS": ("0", 0),
    "RECEIPT_DAYS": ("7", 7),
    "TOMBSTONE_DAYS": ("365", 365),
    "ALLOWED_ORIGIN": (
        "https://App.example.com, http://localhost:3000/",
        ("https://app.example.com", "http://localhost:3000"),
    ),
    "TRUSTED_PROXIES": ("10.0.0.0/8,::1", (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128"))),
    "PING_INTERVAL": ("25", 25.0),
    "PING_TIMEOUT": ("5.5", 5.5),
    "RATE_LIMIT_PER_MINUTE": ("0", 0),
    "MAX_CONNECTIONS_PER_USER": ("0", 0),
    "MAX_CONNECTIONS_PER_NAMESPACE": ("50", 50),
    "CONNECTION_LIMIT_POLICY": ("evict", "evict"),
    "RESTRICTED_CHANNELS": ("board, money", ("board", "money")),
    "OPEN_COMMUNICATIONS": ("true", True),
    "PRESENCE_GRACE": ("0", 0.0),
    "PRESENCE_AUDIENCE": ("rooms", "rooms"),
    "ROOM_AUTH_SECRET": (LONG, LONG),
    "CONNECTIONS_PER_IP": ("7", 7),
    "SLOW_CLIENT_POLICY": ("drop_oldest", "drop_oldest"),
    "SLOW_CLIENT_BUFFER": ("70000", 70000),
    "HANDSHAKES_PER_MINUTE_PER_IP": ("0", 0),
    "FAILED_LOGINS_PER_MINUTE_PER_IP": ("5", 5),
    "METRICS_TOKEN": ("metrics", "metrics"),
    "LOG_LEVEL": ("debug", "debug"),
}
TOGETHER = {"ROOM_AUTH_URL", "TLS_CERT", "TLS_KEY"}


@pytest.mark.parametrize(("variable", "text", "value"), [(name, *pair) for name, pair in GOOD.items()], ids=GOOD)
def test_a_variable_sets_its_field(variable: str, text: str, value: object) -> None:
    settings = loaded(**{variable: f" {text} "})
    assert getattr(settings, variable.lower()) == value


def test_variables_that_go_together_set_their_fields(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("c")
    (tmp_path / "key.pem").write_text("k")
    settings = loaded(
        ROOM_AUTH_URL="https://app.example.com/rooms", ROOM_AUTH_SECRET=LONG, TLS_CERT="cert.pem", TLS_KEY="key.pem"
    )
    assert settings.room_auth_url == "https://app.example.com/rooms"
    assert (settings.tls_cert, settings.tls_key) == (Path("cert.pem"), Path("key.pem"))


def test_no_field_is_left_untried() -> None:
    assert GOOD.keys() | TOGETHER == {name.upper() for name in FIELDS}


def test_without_variables_everything_has_its_default() -> None:
    settings = load()
    assert settings == Settings()
    assert (settings.host, settings.port, settings.database_path) == ("127.0.0.1", 3000, Path("data/realtime.db"))
    assert (settings.ping_interval, settings.ping_timeout, settings.jwt_leeway) == (30.0, 20.0, 30.0)
    assert settings.jwt_require_exp is True


def test_an_empty_variable_counts_as_unset() -> None:
    assert loaded(PORT="", JWT_SECRET="  ", ALLOWED_ORIGIN=" ") == Settings()


def test_a_database_path_is_relative_with_three_slashes_and_absolute_with_four() -> None:
    assert loaded(DATABASE_URL="sqlite:///data/x.db").database_path == Path("data/x.db")
    assert loaded(DATABASE_URL="sqlite:////srv/x.db").database_path == Path("/srv/x.db")


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://localhost/roomcast",
        "mongodb://user:p%40ss@one:27017,two:27017/room_cast-1?replicaSet=rs0&w=majority",
        "mongodb+srv://user:pass@cluster0.example.net/roomcast?retryWrites=true",
        "mongodb://[::1]:27017/roomcast",
        "mongodb://user:pass@one:27017,[::1]:27017,[::2]/roomcast",
        "mongodb://%2Frun%2Fmongodb-27017.sock/roomcast",
    ],
)
def test_a_database_can_be_a_server(url: str) -> None:
    assert loaded(DATABASE_URL=url).database_url == url


def test_days_become_seconds() -> None:
    assert Settings().retention == Retention()
    settings = loaded(
        INBOX_MAX_ROWS="5",
        ARCHIVE_DAYS="1",
        RETENTION_DAYS="2",
        BROADCAST_DAYS="3",
        RECEIPT_DAYS="0",
        TOMBSTONE_DAYS="4",
    )
    assert settings.retention == Retention(
        max_rows=5, archived=86400.0, rows=172800.0, broadcasts=259200.0, receipts=0.0, tombstones=345600.0
    )


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("YES", True), ("on", True), ("0", False), ("No", False), ("off", False)]
)
def test_flags_are_written_in_several_ways(text: str, value: bool) -> None:
    assert loaded(JWT_REQUIRE_EXP=text).jwt_require_exp is value


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().port = 1  # type: ignore[misc]


# --- what is refused ---

BAD = [
    ("PORT", "abc"),
    ("PORT", "-1"),
    ("PORT", "65536"),
    ("PORT", "3000.5"),
    ("EXTRA_PORTS", "3001,x"),
    ("EXTRA_PORTS", "0"),
    ("JWT_JWKS_URL", "ftp://id.example.com"),
    ("JWT_JWKS_URL", "id.example.com"),
    ("JWT_JWKS_URL", "https://"),
    ("JWT_JWKS_URL", "https://["),
    ("JWT_ALGORITHMS", "none"),
    ("JWT_ALGORITHMS", "HS256,none"),
    ("JWT_ALGORITHMS", "hs256"),
    ("JWT_ALGORITHMS", ","),
    ("JWT_LEEWAY", "-1"),
    ("JWT_LEEWAY", "601"),
    ("JWT_LEEWAY", "nan"),
    ("JWT_REQUIRE_EXP", "maybe"),
    ("DATABASE_URL", "postgres://x"),
    ("DATABASE_URL", "sqlite://x.db"),
    ("DATABASE_URL", "sqlite:///"),
    ("INBOX_MAX_ROWS", "0"),
    ("INBOX_MAX_ROWS", "1000001"),
    ("ARCHIVE_DAYS", "-1"),
    ("RETENTION_DAYS", "ever"),
    ("BROADCAST_DAYS", "0.5"),
    ("RECEIPT_DAYS", "36501"),
    ("TOMBSTONE_DAYS", "0"),
    ("TOMBSTONE_DAYS", "366"),
    ("ALLOWED_ORIGIN", "*"),
    ("ALLOWED_ORIGIN", "https://*.example.com"),
    ("ALLOWED_ORIGIN", "app.example.com"),
    ("ALLOWED_ORIGIN", "https://app.example.com/path"),
    ("CLIENT_URL", "nonsense"),
    ("FRONTEND_URL", "nonsense"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", "localhost"),
    ("PING_INTERVAL", "0"),
    ("PING_INTERVAL", "inf"),
    ("PING_TIMEOUT", "soon"),
    ("RATE_LIMIT_PER_MINUTE", "-1"),
    ("RATE_LIMIT_PER_MINUTE", "1e3"),
    ("MAX_CONNECTIONS_PER_USER", "-1"),
    ("MAX_CONNECTIONS_PER_NAMESPACE", "many"),
    ("CONNECTION_LIMIT_POLICY", "none"),
    ("RESTRICTED_CHANNELS", "a" * 101),
    ("OPEN_COMMUNICATIONS", "perhaps"),
    ("PRESENCE_GRACE", "-0.1"),
    ("PRESENCE_AUDIENCE", "some"),
    ("ROOM_AUTH_URL", "app/rooms"),
    ("CONNECTIONS_PER_IP", "many"),
    ("SLOW_CLIENT_POLICY", "ignore"),
    ("SLOW_CLIENT_BUFFER", "1000"),
    ("HANDSHAKES_PER_MINUTE_PER_IP", "-1"),
    ("FAILED_LOGINS_PER_MINUTE_PER_IP", "x"),
    ("TLS_CERT", "no-such-file.pem"),
    ("TLS_KEY", "no-such-file.pem"),
    ("LOG_LEVEL", "loud"),
    ("REDIS_URL", "redis://localhost"),
]


@pytest.mark.parametrize(("variable", "text"), BAD)
def test_a_bad_value_names_its_variable(variable: str, text: str) -> None:
    error = complaint(**{variable: text})
    assert error.variable == variable
    assert str(error).startswith(f"{variable}: ")


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://user:hunter2@localhost",
        "mongodb://user:hunter2@localhost/",
        "mongodb://user:hunter2@localhost/a.b",
        "mongodb://user:hunter2@localhost/a/b",
        "mongodb://user:hunter2@/roomcast",
        "mongodb://user:hun/ter2@localhost/roomcast",
        "mongodb://user:hun?ter2@localhost/roomcast",
        "mongodb://user:hun#ter2@localhost/roomcast",
        "mongodb://user:hun@ter2@localhost/roomcast",
        "mongodb://user:hunter2@local host/roomcast",
        "mongodb://user:hunter2@[local/roomcast",
        "mongodb://user:hunter2@[local]/roomcast",
        "mongodb://user:hunter2@local]/roomcast",
        "mongodb://user:hunter2@local:port/roomcast",
        "mongodb://user:hunter2@one,,local/roomcast",
        "mongo://user:hunter2@localhost/roomcast",
        "postgres://user:hunter2@localhost/roomcast",
        "MONGODB://user:hunter2@localhost/roomcast",
    ],
)
def test_a_bad_database_url_is_not_repeated(url: str) -> None:
    error = complaint(DATABASE_URL=url)
    assert error.variable == "DATABASE_URL"
    for word in ("hun", "ter2", "local"):
        assert word not in str(error)


def test_every_variable_that_can_be_wrong_is_tried() -> None:
    free_text = {name.upper() for name, spec in FIELDS.items() if spec.metadata["parse"] is str}
    assert {variable for variable, _ in BAD} >= {name.upper() for name in FIELDS} - free_text


@pytest.mark.parametrize(("given", "missing"), [("TLS_CERT", "TLS_KEY"), ("TLS_KEY", "TLS_CERT")])
def test_certificate_and_key_go_together(tmp_path: Path, given: str, missing: str) -> None:
    (tmp_path / "file.pem").write_text("x")
    assert complaint(**{given: "file.pem"}).variable == missing


def test_a_room_authority_needs_a_key_to_sign_with() -> None:
    assert complaint(ROOM_AUTH_URL="https://app.example.com/rooms").variable == "ROOM_AUTH_SECRET"


@pytest.mark.parametrize("algorithms", ["RS256", "HS256,ES256", "PS256", "EdDSA"])
def test_asymmetric_algorithms_need_the_url_of_their_keys(algorithms: str) -> None:
    assert complaint(JWT_ALGORITHMS=algorithms, JWT_SECRET=LONG).variable == "JWT_JWKS_URL"


# --- algorithms with a key set ---

JWKS = "https://id.example.com/jwks"


def test_with_a_key_set_alone_tokens_are_asymmetric() -> None:
    assert loaded(JWT_JWKS_URL=JWKS).jwt_algorithms == ("RS256", "ES256")


def test_with_a_key_set_and_a_secret_both_kinds_are_accepted() -> None:
    assert loaded(JWT_JWKS_URL=JWKS, JWT_SECRET=LONG).jwt_algorithms == ("RS256", "ES256", "HS256")


def test_named_algorithms_are_taken_as_they_are() -> None:
    assert loaded(JWT_JWKS_URL=JWKS, JWT_SECRET=LONG, JWT_ALGORITHMS="EdDSA").jwt_algorithms == ("EdDSA",)


# --- aliases and the .env file ---


@pytest.mark.parametrize("alias", ["CLIENT_URL", "FRONTEND_URL"])
def test_the_origin_has_the_names_that_the_applications_use(alias: str) -> None:
    assert loaded(**{alias: "https://app.example.com"}).allowed_origin == ("https://app.example.com",)


def test_the_own_name_of_a_variable_comes_first() -> None:
    settings = loaded(
        FRONTEND_URL="https://c.example", CLIENT_URL="https://b.example", ALLOWED_ORIGIN="https://a.example"
    )
    assert settings.allowed_origin == ("https://a.example",)
    del os.environ["ALLOWED_ORIGIN"]
    assert load().allowed_origin == ("https://b.example",)


def test_a_file_named_dot_env_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('# a comment\nPORT=8080\nexport JWT_ISSUER="us"\n')
    settings = load()
    assert (settings.port, settings.jwt_issuer) == (8080, "us")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8080\nHOST=0.0.0.0\n")
    settings = loaded(PORT="9090")
    assert (settings.port, settings.host) == (9090, "0.0.0.0")


def test_files_of_parent_directories_are_not_read(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=8080\n")
    (tmp_path / "below").mkdir()
    environment.chdir(tmp_path / "below")
    assert load().port == 3000


def test_another_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "production.env").write_text("PORT=8080\n")
    assert load(tmp_path / "production.env").port == 8080
    assert load(tmp_path / "absent.env").port == 3000


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    with pytest.raises(BadSetting) as caught:
        load()
    assert caught.value.variable == ".env"


def test_a_bad_value_in_the_file_names_its_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=x\n")
    assert complaint().variable == "PORT"


# --- secrets ---


def refused_secret(**given: Any) -> BadSetting:
    with pytest.raises(BadSetting) as caught:
        check_secrets(Settings(**given))
    return caught.value


def test_serving_without_a_key_is_refused_with_advice() -> None:
    error = refused_secret()
    assert error.variable == "JWT_SECRET"
    assert "secrets.token_urlsafe" in str(error)


@pytest.mark.parametrize("name", ["jwt_secret", "jwt_secret_previous"])
def test_a_short_key_is_refused_without_being_shown(name: str) -> None:
    error = refused_secret(**{"jwt_secret": LONG, name: "hunter2-" + "y" * 23})
    assert error.variable == name.upper()
    assert "hunter2" not in str(error)


def test_the_length_of_a_key_is_counted_in_bytes() -> None:
    check_secrets(Settings(jwt_secret="é" * 16))
    assert refused_secret(jwt_secret="é" * 15).variable == "JWT_SECRET"


def test_asymmetric_tokens_alone_need_no_secret() -> None:
    check_secrets(Settings(jwt_jwks_url=JWKS, jwt_algorithms=("RS256",)))
    assert refused_secret(jwt_jwks_url=JWKS, jwt_algorithms=("RS256", "HS256")).variable == "JWT_SECRET"


def test_secrets_are_the_fields_that_name_one() -> None:
    assert set(SECRETS) == {"jwt_secret", "jwt_secret_previous", "room_auth_secret", "metrics_token"}


def shown(settings: Settings) -> dict[str, str]:
    return dict(effective(settings))


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_masked(name: str) -> None:
    given: dict[str, Any] = {name: "hunter2-" + LONG}
    rows = shown(Settings(**given))
    assert rows[name.upper()] == "(set, hidden)"
    assert "hunter2" not in str(rows)
    assert shown(Settings())[name.upper()] == "(not set)"


@pytest.mark.parametrize("name", ["jwt_jwks_url", "room_auth_url"])
@pytest.mark.parametrize("userinfo", ["user:hunter2", ":hunter2", "hunter2", "user%40x:hunter2%2F", "user:hun:ter2"])
def test_credentials_in_a_url_are_masked(name: str, userinfo: str) -> None:
    given: dict[str, Any] = {name: f"https://{userinfo}@id.example.com/jwks"}
    shown_url = shown(Settings(**given))[name.upper()]
    assert "hun" not in shown_url
    assert "id.example.com/jwks" in shown_url


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("mongodb://user:hunter2@a:1,b:2/x?w=1", "mongodb://***@a:1,b:2/x?w=1"),
        ("mongodb+srv://hunter2@a/x", "mongodb+srv://***@a/x"),
        (
            "mongodb://a/x?tlsCertificateKeyFilePassword=hunter2&authMechanismProperties=AWS_SESSION_TOKEN:hunter2&w=1",
            "mongodb://a/x?tlsCertificateKeyFilePassword=***&authMechanismProperties=***&w=1",
        ),
        (
            "mongodb://hunter2:hunter2@a,[::1]:2/x?ReplicaSet=rs&tls=true&apiKey=hunter2&x.secret=hunter2;w=1&hunter2",
            "mongodb://***@a,[::1]:2/x?ReplicaSet=rs&tls=true&apiKey=***&x.secret=***;w=1&***",
        ),
        ("mongodb://a/x", "mongodb://a/x"),
        ("sqlite:////srv/me@home/x.db", "sqlite:////srv/me@home/x.db"),
    ],
)
def test_credentials_of_the_database_are_masked(url: str, masked: str) -> None:
    assert shown(loaded(DATABASE_URL=url))["DATABASE_URL"] == masked
    assert "hunter2" not in check_config(DATABASE_URL=url, JWT_SECRET=LONG).output


@pytest.mark.parametrize("name", ["jwt_jwks_url", "room_auth_url"])
def test_options_of_a_url_are_masked(name: str) -> None:
    given: dict[str, Any] = {name: "https://id.example.com/jwks?sig=hunter2&w=1"}
    assert shown(Settings(**given))[name.upper()] == "https://id.example.com/jwks?sig=***&w=1"


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("DATABASE_URL", "mongodb://user:hunter2@[local/x"),
        ("DATABASE_URL", "mongodb+srv://user:hunter2@[local]/x"),
        ("JWT_JWKS_URL", "https://user:hunter2@[local/x"),
        ("ROOM_AUTH_URL", "https://user:hunter2@local\N{CARE OF}host/x"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_shown(variable: str, url: str) -> None:
    result = check_config(JWT_SECRET=LONG, ROOM_AUTH_SECRET=LONG, **{variable: url})
    assert result.exit_code == 2
    assert f"{variable}: must be" in result.output
    for word in ("hunter2", "local", "Traceback"):
        assert word not in result.output


def test_every_variable_is_shown_once() -> None:
    assert [variable for variable, _ in effective(Settings())] == [name.upper() for name in FIELDS]


def check_config(**variables: str) -> Result:
    return CliRunner().invoke(main, ["check-config"], env=variables)


def test_check_config_prints_the_effective_settings_and_no_secret() -> None:
    secrets = {name.upper(): f"hunter2-{name}-{LONG}" for name in SECRETS}
    result = check_config(PORT="8080", ALLOWED_ORIGIN="https://a.example", JWT_REQUIRE_EXP="0", **secrets)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert {"PORT=8080", "ALLOWED_ORIGIN=https://a.example", "JWT_REQUIRE_EXP=false", "PING_INTERVAL=30"} <= set(lines)
    assert "JWT_SECRET=(set, hidden)" in lines
    assert "hunter2" not in result.output


def test_check_config_fails_naming_the_bad_variable() -> None:
    result = check_config(JWT_SECRET="hunter2-" + LONG, PING_INTERVAL="never")
    assert result.exit_code == 2
    assert "PING_INTERVAL: " in result.output
    assert "hunter2" not in result.output


def test_check_config_fails_on_a_short_key_without_showing_it() -> None:
    result = check_config(JWT_SECRET="hunter2")
    assert result.exit_code == 2
    assert "JWT_SECRET: is shorter than 32 bytes" in result.output
    assert "hunter2" not in result.output


# --- the development key ---


def test_the_development_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "dev-secret"
    secret = dev_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dev_secret(path) == secret
    check_secrets(Settings(jwt_secret=secret))


def test_an_open_umask_does_not_open_the_development_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        dev_secret(tmp_path / "dev-secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "dev-secret").stat().st_mode) == 0o600


def test_two_development_keys_differ(tmp_path: Path) -> None:
    assert dev_secret(tmp_path / "one") != dev_secret(tmp_path / "two")


def test_a_development_key_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "dev-secret").write_text(LONG + "\n")
    assert dev_secret(tmp_path / "dev-secret") == LONG


def test_the_development_key_lives_beside_the_database() -> None:
    dev_secret()
    assert (Path("data") / "dev-secret").is_file()


# --- the manual ---


def test_the_table_has_one_line_for_every_field() -> None:
    lines = module.table().splitlines()
    assert lines[0] == "| variable | default | meaning |"
    assert [line.split("`")[1] for line in lines[2:]] == [name.upper() for name in FIELDS]
    assert "| `ALLOWED_ORIGIN` or `CLIENT_URL` or `FRONTEND_URL` | same origin |" in module.table()


def test_the_manual_has_the_table_of_the_code() -> None:
    text = README.read_text()
    _, _, rest = text.partition("<!-- settings -->")
    table, end, _ = rest.partition("<!-- /settings -->")
    assert end
    assert table.strip() == module.table()
