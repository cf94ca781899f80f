"""Secrets of workflows that the process is given: from the environment and from the credentials directory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hark.daemon.hosts import check_database_url
from hark.workflows.connections import VARIABLE, is_home, is_name, spelled
from hark.workflows.errors import ConfigurationError

PREFIX = "HARK_SECRET_"
_SETTING = "key"
"""HARK_SECRET_KEY, and the credential `secret_key`, are a setting: no workflow may read it."""


def load_secrets(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what expressions see as `secrets`.

    `HARK_SECRET_GH` gives `secrets.gh`; so does a file `secret_gh` in `$CREDENTIALS_DIRECTORY`, which is where systemd
    puts what `LoadCredential=secret_gh:…` names. One trailing line break of a file does not count.
    """
    environment = os.environ if environment is None else environment
    found = _from_directory(environment.get("CREDENTIALS_DIRECTORY"))
    for name, value in environment.items():
        if name.startswith(PREFIX) and len(name) > len(PREFIX):
            found[name.removeprefix(PREFIX).lower()] = value
    found.pop(_SETTING, None)
    return found


def _from_directory(directory: str | None) -> dict[str, str]:
    if not directory:
        return {}
    files = sorted(path for path in Path(directory).glob("secret_*") if path.is_file())
    return {
        path.name.removeprefix("secret_").lower(): path.read_text(encoding="utf-8").removesuffix("\n") for path in files
    }


def load_connections(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the URLs of named databases: `HARK_CONNECTION_CRM` is the connection `crm` of steps and triggers.

    Raises ConfigurationError for what is no URL of a PostgreSQL, for the name of the home database, for one that nobody
    can write, and for two variables that are one name.
    """
    environment = os.environ if environment is None else environment
    found = {name: url for name, url in environment.items() if name.startswith(VARIABLE) and name != VARIABLE}
    for name, url in found.items():
        _check_name(name)
        try:
            check_database_url(url)
        except ValueError as error:
            raise ConfigurationError(f"{name}: {error}") from error
    spellings = Counter(map(spelled, found))
    if twice := sorted(name for name in found if spellings[spelled(name)] > 1):
        raise ConfigurationError(
            f"{', '.join(twice)}: names are read in lower case, and a dash as _; leave one of each"
        )
    return {spelled(name.removeprefix(VARIABLE)): url for name, url in found.items()}


def _check_name(variable: str) -> None:
    name = variable.removeprefix(VARIABLE)
    if is_home(name):
        raise ConfigurationError(
            f"{variable}: `home` is the database that Hark itself lives in (HARK_DATABASE_URL), in steps and triggers; "
            f"give this one another name, such as {VARIABLE}CRM"
        )
    if not is_name(name):
        raise ConfigurationError(
            f"{variable}: steps and triggers cannot name this one; after {VARIABLE} write letters (A-Z), digits and _ "
            "alone"
        )
