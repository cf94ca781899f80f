"""Settings: which layer wins, where a value came from, and what a mistake is told."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from hark.daemon.configuration import describe, load_settings, mask_url, unknown_variables
from hark.daemon.secrets import load_connections, load_secrets
from hark.workflows.errors import ConfigurationError


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand in an empty directory, with an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def test_with_nothing_given_the_defaults_hold(elsewhere: Path) -> None:
    settings = load_settings()
    assert settings.data_dir == elsewhere / "home" / ".local" / "state" / "hark"
    assert settings.base_url == "http://127.0.0.1:8470"
    assert settings.max_body_bytes == 1024**2
    assert settings.drain_timeout == timedelta(seconds=30)
    assert {entry["origin"] for entry in describe(settings).values()} == {"default", "embedded"}


def test_flags_win_over_environment_over_credentials_over_file(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> None:
    Path("hark.toml").write_text('host = "file"\nport = 1\nlog_level = "error"\nsmtp_password = "file"\n')
    (elsewhere / "smtp_password").write_text("credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(elsewhere))
    monkeypatch.setenv("HARK_PORT", "2")
    monkeypatch.setenv("HARK_LOG_LEVEL", "WARNING")
    shown = describe(load_settings({"log_level": "debug", "port": None}), show_secrets=True)
    assert shown["host"] == {"value": "file", "origin": f"file {elsewhere / 'hark.toml'}"}
    assert shown["smtp_password"] == {"value": "credential", "origin": "credential smtp-password"}
    assert shown["port"] == {"value": 2, "origin": "environment HARK_PORT"}
    assert shown["log_level"] == {"value": "debug", "origin": "flag --log-level"}


def test_systemd_says_where_the_state_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/hark:/var/lib/other")
    assert load_settings().data_dir == Path("/var/lib/hark")


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_DATABASE_URL", "")
    assert load_settings().database_url is None


def test_lists_and_sizes_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_HTTP_ALLOW_NETWORKS", "10.0.0.0/8, fd00::1/64")
    monkeypatch.setenv("HARK_MAX_BODY_BYTES", "2MiB")
    settings = load_settings()
    assert settings.http_allow_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/64"))
    assert settings.max_body_bytes == 2 * 1024**2
    assert describe(settings)["http_allow_networks"]["value"] == ["10.0.0.0/8", "fd00::/64"]


def test_a_table_in_the_file_stands_for_a_prefix_and_paths_start_at_the_file(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path
) -> None:
    (elsewhere / "etc").mkdir()
    (elsewhere / "etc" / "h.toml").write_text('workflows = "flows"\nport = 9\n[smtp]\nhost = "mail"\nport = 26\n')
    monkeypatch.setenv("HARK_CONFIG", "etc/h.toml")
    settings = load_settings()
    assert (settings.smtp_host, settings.smtp_port, settings.port) == ("mail", 26, 9)
    assert settings.workflows == elsewhere / "etc" / "flows"


@pytest.mark.parametrize(
    "name,value,message",
    [
        ("HARK_PORT", "many", r"port \(environment HARK_PORT\): 'many': .*integer.*\(the port to serve HTTP on"),
        ("HARK_PORT", "70000", r"less than or equal to 65535"),
        (
            "HARK_DATABASE_URL",
            "mysql://x:geheim@y",
            r"^database_url \(environment HARK_DATABASE_URL\): write postgresql://",
        ),
        ("HARK_DRAIN_TIMEOUT", "soon", r"drain_timeout .*write a duration such as"),
        ("HARK_LOG_FORMAT", "xml", r"'auto', 'console' or 'json'"),
        ("HARK_HTTP_ALLOW_NETWORKS", "intranet", r"http_allow_networks .*'intranet'"),
    ],
)
def test_a_wrong_value_is_told_with_its_origin_and_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_settings()
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "text,message",
    [
        ("prot = 1", "no setting prot; did you mean port"),
        ("port = ", "hark.toml"),
        ("port = 1\nport = 2", "hark.toml"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str) -> None:
    Path("hark.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()


def test_a_named_file_must_be_there() -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        load_settings(config=Path("absent.toml"))


def test_secrets_are_masked_unless_asked_for() -> None:
    flags = {"database_url": "postgresql://me:geheim@db:5432/x?a=b", "api_key": "hk_geheim", "smtp_password": "geheim"}
    settings = load_settings({**flags, "link_key": "geheim" * 8, "secret_key": "geheim" * 8})
    assert "geheim" not in str(describe(settings)) + repr(settings) + str(settings)
    assert describe(settings)["database_url"]["value"] == "postgresql://me:********@db:5432/x?a=b"
    assert describe(settings, show_secrets=True)["database_url"]["value"] == flags["database_url"]


def test_the_key_that_seals_is_a_setting_and_no_secret_of_workflows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARK_SECRET_KEY", "k" * 32)
    monkeypatch.setenv("HARK_SECRET_GH", "gh")
    (tmp_path / "secret_key").write_text("c" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_secrets() == {"gh": "gh"}
    key = load_settings().secret_key
    assert key is not None
    assert key.get_secret_value() == "k" * 32
    assert unknown_variables() == []


@pytest.mark.parametrize("key", ["short", "k" * 32 + ",", "k" * 32 + ", short"])
def test_a_key_that_is_too_short_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="each key needs 32 characters") as refused:
        load_settings({"secret_key": key})
    assert key not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://db/x", "postgresql://me@db/x", "postgresql:///x?host=/run"])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert mask_url(url) == url


def test_a_dash_in_a_name_is_read_as_steps_and_triggers_read_it() -> None:
    """Who starts programs without a shell can set such a variable; the daemon did not start with it any more."""
    assert load_connections({"HARK_CONNECTION_MY-CRM": "postgresql://db/x"}) == {"my_crm": "postgresql://db/x"}


def test_no_other_database_is_called_home() -> None:
    """Steps and triggers took `home` for Hark's own, and the one that was meant was never asked."""
    url = "postgresql://db/app"
    assert load_connections({"HARK_CONNECTION_CRM": url, "HARK_SECRET_HOME": "x"}) == {"crm": url}
    for name in ("HARK_CONNECTION_HOME", "HARK_CONNECTION_Home"):
        with pytest.raises(ConfigurationError, match=rf"{name}: `home` is .* such as HARK_CONNECTION_CRM"):
            load_connections({name: url})


@pytest.mark.parametrize(
    "environment,said",
    [
        ({"HARK_CONNECTION_CRM": "mysql://db/x"}, "CRM: write postgresql://"),
        ({"HARK_CONNECTION_MY.CRM": "postgresql://db/x"}, "MY.CRM: .* write letters"),
        ({"HARK_CONNECTION_CRM": "postgresql://db:port/x"}, "CRM: .* is no port: write a number"),
        ({"HARK_CONNECTION_CRM": "postgresql://u:p[w@db/x"}, "CRM: .*in a password write %5B for"),
        (
            dict.fromkeys(("HARK_CONNECTION_CRM", "HARK_CONNECTION_crm", "HARK_CONNECTION_A"), "postgresql://db/x"),
            "^HARK_CONNECTION_CRM, HARK_CONNECTION_crm: .*leave one",
        ),
        (
            dict.fromkeys(("HARK_CONNECTION_MY-CRM", "HARK_CONNECTION_MY_CRM"), "postgresql://db/x"),
            "^HARK_CONNECTION_MY-CRM, HARK_CONNECTION_MY_CRM: .*a dash as _; leave one",
        ),
    ],
)
def test_what_names_no_other_database_is_refused_at_the_start(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_connections(environment)


@pytest.mark.parametrize("password", ["secret#1", "secret/1", "secret?1", "271828#x", "secret[1", "secret\N{CARE OF}1"])
def test_a_password_that_makes_no_url_is_not_shown(password: str) -> None:
    """Its beginning stands where a port would, and came into the log as that; or all of it, as unreadable."""
    url = f"postgresql://u:{password}@db/x"
    with pytest.raises(ConfigurationError, match="in a password") as refused:
        load_connections({"HARK_CONNECTION_CRM": url})
    with pytest.raises(ConfigurationError, match="in a password") as refused_home:
        load_settings({"database_url": url})
    assert password[:6] not in f"{refused.value} {refused_home.value}"


def test_a_slip_in_the_name_of_a_variable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_DATABSE_URL", "x")
    monkeypatch.setenv("HARK_SECRET_SLACK", "x")
    assert unknown_variables() == ["HARK_DATABSE_URL"]
