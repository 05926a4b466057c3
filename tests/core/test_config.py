"""Settings and where they come from; backends and how they are found."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit import config
from progresskit.config import Settings, resolve
from progresskit.errors import ConfigurationError, MissingPackage, UnknownScheme
from progresskit.memory import MemoryBackend
from progresskit.registry import BACKENDS, ENTRY_POINTS, backend_class
from progresskit.urls import redact

# The settings.


def test_the_documented_table_is_the_settings_with_their_defaults() -> None:
    table = inspect.getdoc(config).partition("setting          ")[2].splitlines()[1:]  # type: ignore[union-attr]
    documented = {}
    for line in table:
        name, default, *_ = re.split(r"  +", line.strip())
        documented[name] = default
    defaults = {
        name: f"{value:,}".removesuffix(".0") if type(value) is float else str(value)
        for name, value in Settings()._asdict().items()
    }
    # A heartbeat depends on the lease; None stands for that in the code.
    assert documented == defaults | {"heartbeat": "lease / 3"}
    assert Settings(lease=12).heartbeat_seconds == 4


def test_what_the_code_says_goes_before_the_environment_the_framework_and_the_default() -> None:
    explicit, environ, framework = {"prefix": "code"}, {"PROGRESSKIT_PREFIX": "environment"}, {"PREFIX": "framework"}
    assert resolve(explicit, framework, environ).prefix == "code"
    assert resolve({}, framework, environ).prefix == "environment"
    assert resolve({}, framework, {}).prefix == "framework"
    assert resolve({}, {}, {}).prefix == "progresskit"


def test_each_setting_is_taken_from_the_first_place_that_has_it() -> None:
    settings = resolve({"ttl": 60}, {"LEASE": 9, "TTL": 1}, {"PROGRESSKIT_LEASE": "6", "PROGRESSKIT_INTERVAL": "0.5"})
    assert (settings.ttl, settings.lease, settings.interval) == (60, 6, 0.5)


def test_the_environment_of_the_process_is_read_when_nothing_else_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "sqlite:///here.db")
    assert resolve({}, {}).url == "sqlite:///here.db"


def test_a_framework_may_write_names_in_any_case() -> None:
    assert resolve({}, {"URL": "memory://", "Flush_Seconds": 5}, {}).flush_seconds == 5


@pytest.mark.parametrize("place", ["explicit", "framework"])
def test_a_name_that_is_no_setting_is_refused_with_those_there_are(place: str) -> None:
    wrong = {"intervall": 1}
    with pytest.raises(ConfigurationError, match=r"'intervall'.*\binterval\b"):
        resolve(wrong if place == "explicit" else {}, wrong if place == "framework" else {}, {})


def test_other_variables_of_the_environment_are_left_alone() -> None:
    functions = {"PROGRESSKIT_AUTHORIZE": "os:system", "PROGRESSKIT_USER": "root"}
    environ = functions | {"PROGRESSKIT_CI": "1", "INTERVAL": "9"}
    assert resolve({}, {}, environ) == Settings()


@pytest.fixture
def nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progresskit.config._warned_of", set())


@pytest.mark.usefixtures("nothing_was_warned_of")
def test_a_variable_that_is_no_setting_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"PROGRESSKIT_ULR": "redis://:hunter2@host", "PROGRESSKIT_XYZ": "1", "PROGRESSKIT_AUTHORIZE": "os:system"}
    for _ in range(3):
        used = dict.fromkeys(("PROGRESSKIT_CI", "PROGRESSKIT_FILE", "PROGRESSKIT_ID", "PROGRESSKIT_TEST_SEED"), "1")
        assert resolve({}, {}, environ | used | {"PROGRESSKIT_LEASE": "9"}).lease == 9
    assert caplog.messages == [
        "The environment variable PROGRESSKIT_AUTHORIZE is ignored: "
        "authorize is a function (request, id, right) -> bool; give it to configure()",
        "The environment variable PROGRESSKIT_ULR is ignored: it is no setting (did you mean PROGRESSKIT_URL?)",
        "The environment variable PROGRESSKIT_XYZ is ignored: it is no setting",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize(
    ("wrong", "meant"), [("intervall", "interval"), ("LEASES", "lease"), ("secretkey", "secret_key")]
)
def test_a_name_that_is_no_setting_gets_the_one_that_is_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\(did you mean '{meant}'\?\)"):
        resolve({}, {wrong: 1}, {})


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("localhost:6379", "the scheme is missing in url: did you mean redis://localhost:6379?"),
        ("user:hunter2@broker:5672/site", "the scheme is missing in url: did you mean amqp://broker:5672?"),
        ("host:6379/0?password=hunter2", "the scheme is missing in url: did you mean redis://host:6379?"),
        ("/srv/progress.db", "the scheme is missing in url: did you mean sqlite:////srv/progress.db?"),
        ("progress.sqlite3", "the scheme is missing in url: did you mean sqlite:///progress.sqlite3?"),
        ("user:hunter2@host", "the scheme is missing in url: one looks like 'sqlite:////var/lib/"),
        ("redis", "the scheme is missing in url: one looks like "),
        (5, "url must be a string: one looks like "),
    ],
)
def test_a_url_without_its_scheme_is_reported_as_such(url: Any, hint: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        resolve({"url": url}, {}, {})
    assert str(refused.value).startswith(hint)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("text", "value"), [
    ("1", True), ("true", True), ("True", True), ("YES", True), ("on", True),
    ("0", False), ("false", False), ("No", False), ("off", False), ("", False),
])  # fmt: skip
def test_a_flag_of_the_environment_is_read_as_people_write_them(text: str, value: bool) -> None:
    assert resolve({}, {}, {"PROGRESSKIT_STRICT": text}).strict is value


BAD = [
    ("strict", "perhaps"), ("strict", 1), ("strict", None), ("allow_anonymous", "2"),
    ("interval", 0), ("interval", -1), ("interval", float("nan")), ("interval", float("inf")), ("interval", "soon"),
    ("lease", 0), ("ttl", -5), ("ttl", []), ("ttl", 10**400), ("flush_seconds", -0.1), ("flush_seconds", float("inf")),
    ("max_streams", -1), ("max_streams", "many"), ("stream_seconds", 0),
    ("max_streams_per_client", -1), ("trusted_proxies", -1), ("trusted_proxies", "nginx"),
    ("bind_tokens_to_user", "perhaps"),
    ("allowed_hosts", 5), ("allowed_hosts", ["good", 5]), ("allowed_hosts", ["http://site"]),
    ("allowed_hosts", "site:80"),
    ("allowed_hosts", "a b"), ("allowed_hosts", ["a.*"]), ("allowed_hosts", "site/path"), ("allowed_hosts", [".."]),
    ("url", "redis"), ("url", None), ("url", 5), ("url", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        resolve({name: value}, {}, {})


@pytest.mark.parametrize(("name", "value", "kept"), [
    ("flush_seconds", "0", 0.0), ("max_streams", "7", 7), ("max_streams", None, None), ("max_streams", 0, 0),
    ("interval", "0.25", 0.25), ("lease", 5, 5.0), ("heartbeat", None, None),
    ("secret_key", ["new", "old"], ["new", "old"]),
    ("allowed_hosts", "www.Example.com, .example.org,", ("www.example.com", ".example.org")),
    ("allowed_hosts", ["*"], ("*",)), ("allowed_hosts", ["[::1]", "::0:1", "10.0.0.1"], ("::1", "::1", "10.0.0.1")),
    ("allowed_hosts", [], ()), ("allowed_hosts", None, None),
])  # fmt: skip
def test_a_good_value_is_kept_in_its_own_kind(name: str, value: Any, kept: Any) -> None:
    value = getattr(resolve({name: value}, {}, {}), name)
    assert (value, type(value)) == (kept, type(kept))


def test_a_heartbeat_that_comes_after_the_lease_is_refused() -> None:
    assert resolve({"lease": 10, "heartbeat": 9}, {}, {}).heartbeat_seconds == 9
    with pytest.raises(ConfigurationError, match="must be shorter than lease"):
        resolve({"lease": 10, "heartbeat": 10}, {}, {})


# Nothing secret in what is shown.

SECRETS = [
    "redis://:hunter2@localhost/0",
    "redis://user:hunter2@localhost:6379/0",
    "postgresql+psycopg://user:hunter2@[::1]:5432/db?sslmode=require",
    "redis://localhost/0?password=hunter2",
    "amqp://user:p%40hunter2@host//",
    "amqp://user:p@hunter2@host//",
    "redis+sentinel://a:hunter2@one:1,two:2/service",
    "unix://:hunter2@/var/run/redis.sock?db=0",
    "redis://user:pass/hunter2@localhost/0",
    "redis://user:pass?hunter2@localhost/0",
    "redis://user:pass#hunter2@localhost/0",
    "redis://user:pass@hunter2@localhost/0",
    "redis://localhost/0?password=hunter2&email=a@b",
    "sentinel://:hunter2@one:1;sentinel://:hunter2@two:2/0",
    "user:hunter2@localhost",
]


@pytest.mark.parametrize("url", SECRETS)
def test_no_password_is_shown(url: str) -> None:
    assert "hunter2" not in redact(url)
    assert "hunter2" not in repr(Settings(url=url))
    assert "hunter2" not in str(Settings(url=url))


HARMLESS = ["memory://", "sqlite:///progress.db", "sqlite:////srv/a@b/progress.db", "redis://localhost/0"]


@pytest.mark.parametrize("url", HARMLESS)
def test_an_url_without_a_secret_is_shown_as_it_is(url: str) -> None:
    assert redact(url) == url


def test_what_is_shown_reports_which_server_it_is() -> None:
    assert redact("redis://user:hunter2@localhost:6379/0?timeout=5") == "redis://user:***@localhost:6379/0?..."


@pytest.mark.parametrize("keys", ["hunter2", ["hunter2", "hunter2-old"]])
def test_no_key_is_shown(keys: Any) -> None:
    assert "hunter2" not in repr(Settings(secret_key=keys))
    assert "secret_key=None" in repr(Settings())


@given(st.text(st.characters(codec="utf-8"), max_size=10), st.text(st.characters(codec="utf-8"), max_size=10))
def test_no_password_is_shown_quoted_or_not(before: str, after: str) -> None:
    assert "hunter2" not in redact(f"redis://user:{before}hunter2{after}@localhost/0")


# Backends.


def test_every_backend_of_the_table_says_where_it_is_and_what_brings_it() -> None:
    assert {"memory", "sqlite"} <= BACKENDS.keys()
    for scheme, (target, extra) in BACKENDS.items():
        assert re.fullmatch(r"progresskit(_\w+)?(\.\w+)*:\w+", target)
        assert (extra is None) == (scheme == "memory")


def test_memory_is_found() -> None:
    assert backend_class("memory://") is MemoryBackend
    assert backend_class("MEMORY://") is MemoryBackend


def test_an_unknown_scheme_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownScheme, match=r"no backend for carrier-pigeon://.*memory://.*sqlite://"):
        backend_class("carrier-pigeon://coop:hunter2@roof")
    with pytest.raises(UnknownScheme) as refused:
        backend_class("carrier-pigeon://coop:hunter2@roof")
    assert "hunter2" not in str(refused.value)
    known = str(refused.value).partition("; known are ")[2].split(", ")
    assert {"redis://", "redis+sentinel://", "rediss+cluster://", "kombu+TRANSPORT://"} <= {*known}
    assert "kombu://" not in known, "it needs a transport"
    assert {url.partition("://")[0].partition("+")[0] for url in known} == BACKENDS.keys()


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("reddis://host", "redis://"),
        ("postgres://host/db", "postgresql://"),
        ("postgress+psycopg://host/db", "postgresql://"),
        ("sqllite:///here.db", "sqlite://"),
        ("rabbitmq://host", "amqp://"),
        ("valkey://host", "redis://"),
    ],
)
def test_an_unknown_scheme_gets_the_one_that_is_nearest(url: str, meant: str) -> None:
    with pytest.raises(UnknownScheme) as refused:
        backend_class(url)
    assert f"(did you mean {meant}?); known are " in str(refused.value)


def test_a_driver_may_follow_the_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "base", ("progresskit.memory:MemoryBackend", None))
    assert backend_class("base+driver://host") is MemoryBackend
    monkeypatch.setitem(BACKENDS, "base+driver", ("progresskit.abc:Backend", None))
    assert backend_class("base+driver://host").__name__ == "Backend"


def test_a_missing_package_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half_installed.py").write_text("import not_there_at_all\nclass Adapter: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS, "half", ("half_installed:Adapter", "sql"))
    with pytest.raises(MissingPackage) as missing:
        backend_class("half://host")
    assert isinstance(missing.value, ImportError)
    assert "half:// needs the package not_there_at_all" in str(missing.value)
    assert 'pip install "progresskit[sql]"' in str(missing.value)


def test_a_package_that_an_adapter_misses_is_reported_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "guarded.py").write_text(
        "from progresskit.registry import needs_extra\n"
        "with needs_extra('guarded', 'sql'):\n    import not_there_at_all\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS, "guarded", ("guarded:Adapter", "sql"))
    with pytest.raises(MissingPackage) as missing:
        backend_class("guarded://host")
    assert str(missing.value) == (
        'guarded:// needs the package not_there_at_all, which is not installed: pip install "progresskit[sql]"'
    )


@pytest.mark.parametrize("guard", ["", "with needs_extra('refusing', 'sql'): "])
def test_a_package_that_is_installed_and_cannot_be_loaded_is_reported_with_the_reason(
    guard: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = "module compiled does not support loading in subinterpreters"
    (tmp_path / "compiled.py").write_text(f"raise ImportError({reason!r}, name='compiled')\n")
    (tmp_path / "refusing.py").write_text(f"from progresskit.registry import needs_extra\n{guard}import compiled\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BACKENDS, "refusing", ("refusing:Adapter", "sql"))
    with pytest.raises(MissingPackage) as refused:
        backend_class("refusing://host")
    assert str(refused.value) == (
        f"refusing:// needs the package compiled, which cannot be loaded ({reason}); "
        'for a version that can: pip install --upgrade "progresskit[sql]"'
    )


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install, for the length of a test, a distribution that brings a backend of its own."""
    (tmp_path / "pigeons.py").write_text(
        "from progresskit.memory import MemoryBackend\nclass PigeonBackend(MemoryBackend): ...\n"
    )
    info = tmp_path / "pigeons-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\npigeon = pigeons:PigeonBackend\nmemory = pigeons:None\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("pigeons", None)


@pytest.mark.usefixtures("third_party")
def test_third_parties_add_a_scheme_by_an_entry_point() -> None:
    found = backend_class("pigeon://roof")
    assert found.__name__ == "PigeonBackend"
    assert backend_class("pigeon+grey://roof") is found
    with pytest.raises(UnknownScheme, match=r"memory://, .*, pigeon://, "):
        backend_class("dove://roof")


@pytest.mark.usefixtures("third_party")
def test_a_third_party_cannot_take_a_scheme_that_is_the_kits_own() -> None:
    assert importlib.metadata.entry_points(group=ENTRY_POINTS, name="memory")
    assert backend_class("memory://") is MemoryBackend


@pytest.mark.parametrize(
    "settings",
    [
        {"interval": None},
        {"lease": None},
        {"ttl": None},
        {"flush_seconds": None},
        {"max_streams": 2.7},
        {"authorize": "everybody"},
        {"user": "everybody"},
        {"trusted_proxies": 0.5},
        {"max_streams_per_client": None},
        {"secret_key": 5},
        {"secret_key": ["good", 5]},
        {"prefix": ""},
        {"prefix": 5},
        {"prefix": "a b"},
        {"interval": 3, "lease": 1, "heartbeat": 0.5},
        {"heartbeat": 9, "ttl": 9},
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        resolve(settings, {}, {})


def test_an_empty_variable_is_as_good_as_none() -> None:
    environment = {"PROGRESSKIT_URL": "", "PROGRESSKIT_INTERVAL": "", "PROGRESSKIT_STRICT": ""}
    assert resolve({}, {}, environment) == resolve({}, {}, {})
