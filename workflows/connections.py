"""How steps, triggers and variables name databases: the one that Hark itself lives in, and those beside it."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator

from hark.workflows.catalogue import suggestion

VARIABLE = "HARK_CONNECTION_"
"""What the variables begin with by which the daemon is told the URLs; the rest is the name."""

_HOME = frozenset({"", "home"})
_NAME = re.compile(r"[a-z0-9_]+")
_NO_NAME = "that is no connection's name"
_WRITE_ONE = (
    "write the name alone, of letters (a-z), digits and _, such as crm: the database itself is set by "
    f"{VARIABLE}CRM=postgresql://…"
)


def is_home(connection: str | None) -> bool:
    """Tell whether a `connection` as it was written, or left out, is the home database."""
    return connection is None or connection.lower() in _HOME


def spelled(text: str) -> str:
    """Spell a name as names are compared: in lower case, and with _ for a dash, which most variables cannot have."""
    return text.lower().replace("-", "_")


def is_name(text: str) -> bool:
    """Tell whether a database beside the home database can have this name, however it is spelled."""
    return not is_home(text) and _NAME.fullmatch(spelled(text)) is not None


def read_connection(text: str) -> str:
    """Read the name of a connection; empty for the home database.

    Raises ValueError, which does not show the text: it may be a URL with a password.
    """
    if is_home(text):
        return ""
    if not is_name(text):
        raise ValueError(f"{_NO_NAME}; {_WRITE_ONE}")
    return spelled(text)


ConnectionName = Annotated[str, AfterValidator(read_connection)]
"""Empty for the home database."""


def variable(name: str) -> str:
    """Return the variable that tells the URL of a connection."""
    return VARIABLE + spelled(name).upper()


def unknown(name: str) -> str:
    """Say that there is no such connection. What is no name is not shown: it may be a URL with a password."""
    return f"there is no connection {name!r}" if is_name(name) else _NO_NAME


def hint(name: str, names: Collection[str]) -> str:
    """Say which connections there are, and how there comes to be this one."""
    if not is_name(name):
        return _WRITE_ONE
    remedy = f"set {variable(name)} in the environment of each instance"
    known = suggestion(name, names)
    if not known:
        return f"none is configured: {remedy}"
    return f"{known} or {remedy}" if known.endswith("?") else f"{known}; or {remedy}"
