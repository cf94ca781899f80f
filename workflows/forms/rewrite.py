"""What rewriting a form carries along: the catalogue, ids that are taken, notes, and what no definition can hold."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from hark.workflows.catalogue import Catalogue
from hark.workflows.forms.trace import Traced
from hark.workflows.source import Path

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class Note:
    """Something to tell about a place in the source; `error` refuses the definition."""

    path: Path
    message: str
    hint: str = ""
    error: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """The row watch that makes an event type such as CLIENT_CREATED happen.

    `entity` is what the event is about, in lower case: its table is named so, or in the plural.
    """

    event: str
    entity: str
    operations: tuple[str, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """What a form says beside the definition itself; None where it says nothing."""

    form: str = "native"
    active: bool | None = None
    template: bool | None = None
    version: str | None = None
    created_by: str | None = None
    watch: Watch | None = None
    """Set when the definition starts by an event that somebody's row watch has to publish."""


@dataclass(slots=True)
class Rewrite:
    """The state of rewriting one definition."""

    catalogue: Catalogue | None = None
    give_ids: bool = False
    """Steps without an id, or with one that is no identifier, get one."""
    ids: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    """The ids of the source that had to change."""
    notes: list[Note] = field(default_factory=list)

    def note(self, node: Traced, message: str, hint: str = "", *, error: bool = False) -> None:
        """Tell something about a place in the source."""
        self.notes.append(Note(node.path, message, hint, error))

    def take_id(self, wanted: str) -> str:
        """Return an identifier like `wanted` that no other step has."""
        base = re.sub(r"\W+", "_", to_ascii(wanted)).strip("_")[:90] or "step"
        base = f"step_{base}" if base[0].isdigit() else base
        name, count = base, 1
        while name in self.ids:
            count += 1
            name = f"{base}_{count}"
        self.ids.add(name)
        return name


def to_ascii(text: str) -> str:
    """Return a text without accents and without what has no ASCII form."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def slug(text: Any) -> str:
    """Make a workflow id from a name; a name without any letter of ASCII gives a digest."""
    name = str(text)
    if _SLUG.fullmatch(name):
        return name
    made = re.sub(r"[^a-z0-9]+", "-", to_ascii(name.casefold())).strip("-")[:100].strip("-")
    return made or f"workflow-{blake2b(name.encode(), digest_size=4).hexdigest()}"
