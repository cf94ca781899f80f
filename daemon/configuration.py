"""Reading the settings: from which layer each one comes, what is wrong with it, and how they are shown."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from hark.daemon.postgres.home import existing_url
from hark.daemon.settings import PREFIX, Settings
from hark.workflows.errors import ConfigurationError

_SECRETS = frozenset({"api_key", "database_url", "link_key", "listen_url", "secret_key", "smtp_password"})
_PATHS = frozenset({"archive", "data_dir", "mail_dir", "setup", "workflows"})
# Names under the prefix that are no settings: the secrets of workflows, the file itself, what the tests use.
_OTHERS = ("HARK_SECRET_", "HARK_CONNECTION_", "HARK_CONFIG", "HARK_TEST_")
_MASK = "********"
_PASSWORD_IN_QUERY = re.compile(r"([?&](?:ssl)?password=)[^&]*")

Layer = tuple[str, Mapping[str, Any]]
"""Where values come from (with `{name}` for the setting), and the values."""


def load_settings(flags: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Settings:
    """Read the settings of this process.

    `flags` are those of the command line; None stands for one that was not given. `config` names the file; without it
    HARK_CONFIG does, else it is the first of `./hark.toml`, `$XDG_CONFIG_HOME/hark/hark.toml`, `/etc/hark/hark.toml`.
    Raises ConfigurationError that names every wrong setting, where it came from, and what would be right.
    """
    layers = [
        ("flag --{name}", {name: value for name, value in (flags or {}).items() if value is not None}),
        ("environment HARK_{NAME}", EnvSettingsSource(Settings)()),
        ("credential {name}", _credentials()),
        *_file_layers(config),
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in reversed(layers):
        for name, value in layer.items():
            values[name] = value
            origins[name] = origin.format(name=name.replace("_", "-"), NAME=name.upper())
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(problem, origins) for problem in error.errors())) from None
    settings._origins = origins  # noqa: SLF001 - this is the constructor, in two parts
    return settings


def unknown_variables() -> list[str]:
    """List what is in the environment under our prefix and means nothing: most likely a slip of the pen."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(
        name for name in os.environ if name.startswith(PREFIX) and name not in known and not name.startswith(_OTHERS)
    )


def describe(settings: Settings, *, show_secrets: bool = False) -> dict[str, dict[str, Any]]:
    """Return every setting as `name -> {value, origin}`, fit for JSON; passwords are masked unless asked for.

    The `database_url` of an embedded server is null until its first start.
    """
    values = settings.model_dump(mode="json")
    origins = {name: settings.origins.get(name, "default") for name in values}
    if settings.database_url is None:
        values["database_url"] = existing_url(settings.data_dir)
        origins["database_url"] = "embedded"
    for name in _SECRETS & values.keys():
        values[name] = _shown(getattr(settings, name) or values[name], show_secrets=show_secrets)
    return {name: {"value": value, "origin": origins[name]} for name, value in sorted(values.items())}


def _shown(value: Any, *, show_secrets: bool) -> str | None:
    if not value:
        return None
    text = str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
    if show_secrets:
        return text
    return mask_url(text) if "://" in text else _MASK


def mask_url(url: str) -> str:
    """Return a URL without its password, wherever libpq would take one from."""
    url = _PASSWORD_IN_QUERY.sub(rf"\g<1>{_MASK}", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{_MASK}@{host}"))


def without_password(url: str) -> tuple[str, str | None]:
    """Take the password out of a URL; returns what is left, and the password."""
    inside = urlsplit(url).password
    found = re.search(r"[?&]password=([^&]*)", url)
    if inside is not None:
        return url.replace(f":{inside}@", "@", 1), unquote(inside)
    if found is not None:
        return url.replace(found[0], found[0][0] + "connect_timeout=10", 1), unquote(found[1])
    return url, None


def _credentials() -> dict[str, str]:
    """Read what systemd's LoadCredential hands over: files that are named like settings."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    files = (Path(folder) / name for name in Settings.model_fields)
    return {file.name: file.read_text(encoding="utf-8").strip() for file in files if file.is_file()}


def _file_layers(config: Path | None) -> Iterator[Layer]:
    named = config or (Path(os.environ["HARK_CONFIG"]) if os.environ.get("HARK_CONFIG") else None)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = [named] if named else [Path("hark.toml"), home / "hark" / "hark.toml", Path("/etc/hark/hark.toml")]
    for place in places:
        if named or place.is_file():
            file = place.absolute()
            yield f"file {str(file).replace('{', '{{').replace('}', '}}')}", _read_file(file)
            return


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from error
    values = dict(_flatten(content))
    unknown = [name for name in values if name not in Settings.model_fields]
    if unknown:
        raise ConfigurationError("\n".join(f"{file}: {_suggest(name)}" for name in unknown))
    # A path in a file is meant from where the file is, not from where somebody happens to stand.
    return {
        name: str(file.parent / Path(value).expanduser()) if name in _PATHS and "://" not in str(value) else value
        for name, value in values.items()
    }


def _flatten(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Let `[smtp] host` stand for `smtp_host`."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{name}_{inner}", value[inner]) for inner in value)
        else:
            yield name, value


def _suggest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"there is no setting {name}" + (f"; did you mean {near[0]}?" if near else "")


def _explain(problem: ErrorDetails, origins: Mapping[str, str]) -> str:
    name = _setting_of(problem["loc"])
    if name not in Settings.model_fields:
        return _suggest(name)
    given = "" if name in _SECRETS else f" {problem['input']!r}:"
    message = problem["msg"].removeprefix("Value error, ")
    meaning = Settings.model_fields[name].description
    return f"{name} ({origins.get(name, 'default')}):{given} {message[:1].lower()}{message[1:]} ({meaning})"


def _setting_of(place: Sequence[int | str]) -> str:
    return str(place[0]) if place else ""
