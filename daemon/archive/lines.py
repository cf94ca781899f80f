"""What a line of the archive says about itself: whose it is, where it came from, and how its file is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

Subject = tuple[str, str]
"""Kind and id."""


def archive_key(kind: str, identifier: object) -> int:
    """Return what stands for a subject, workflow or execution in the index of files, as `hark.archive_key` does."""
    digest = hashlib.md5(f"{kind}\n{identifier}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big", signed=True)


def execution_key(identifier: UUID) -> int:
    """Return the key of the files with what an execution has called, or with events that it has published."""
    return archive_key("execution:id", identifier)


def workflow_key(identifier: UUID) -> int:
    """Return the key of the files with executions of a workflow."""
    return archive_key("workflow:id", identifier)


@dataclass(slots=True)
class LineEvent:
    """An event in a line."""

    id: UUID
    subject: Subject | None
    causes: frozenset[UUID]
    """The executions that have published it, or whose ends it tells."""
    is_end: bool
    """It holds what its causes have put out, whatever it is said to be about."""
    dedupe: tuple[str, str] | None
    """Source and key under which it must not come again; None also for slots and marks, which are Hark's own."""
    says_something: bool
    """Whether there is anything in it that could be taken out."""


@dataclass(slots=True)
class Line:
    """An execution in a file of the archive."""

    text: bytes
    id: UUID
    workflow_id: UUID
    parent_id: UUID | None
    subject: Subject | None
    is_batch: bool
    events: list[LineEvent]
    steps: int
    logs: int

    def keys(self) -> set[int]:
        """Return the keys by which its file is found."""
        origins = {self.parent_id}.union(*(event.causes for event in self.events))
        about = {self.subject, *(event.subject for event in self.events)}
        return {
            workflow_key(self.workflow_id),
            *(execution_key(origin) for origin in origins if origin is not None),
            *(archive_key(*subject) for subject in about if subject is not None),
        }

    def row(self) -> dict[str, Any]:
        """Return it as `FileWriter.add` takes it."""
        return {
            "line": self.text.decode(), "id": self.id, "steps": self.steps, "events": len(self.events),
            "logs": self.logs, "keys": self.keys(),
        }  # fmt: skip


def read_line(text: bytes) -> Line:
    """Read a line."""
    parts = orjson.loads(text)
    execution = parts["execution"]
    return Line(
        text,
        UUID(execution["id"]),
        UUID(execution["workflow_id"]),
        _id(execution.get("parent_id")),
        _subject(execution),
        bool(parts["batch"]),
        [_event(one) for one in parts["events"]],
        len(parts["steps"]),
        len(parts["logs"]),
    )


_SAID_BY_SENDERS = ("event", "webhook")
"""Kinds whose source is what the sender says."""


def _event(row: dict[str, Any]) -> LineEvent:
    says = bool(row["data"] != {} or row.get("subject_id") is not None or row.get("dedupe_key") is not None)
    says = says or (row["kind"] in _SAID_BY_SENDERS and row["source"] != "")
    causes = frozenset(UUID(one) for one in (row.get("caused_by"), *(row.get("also_caused_by") or ())) if one)
    own = row["kind"] in {"cron", "notify"} or row.get("dedupe_key") is None
    dedupe = None if own else (row["source"], row["dedupe_key"])
    return LineEvent(UUID(row["id"]), _subject(row), causes, row["kind"] == "workflow", dedupe, says)


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _subject(row: dict[str, Any]) -> Subject | None:
    return (row["subject_kind"], row["subject_id"]) if row.get("subject_id") is not None else None


@dataclass(slots=True)
class Reach:
    """What is known to be erased with a subject, as far as some lines could be concerned."""

    subject: Subject
    executions: set[UUID] = field(default_factory=set)
    events: set[UUID] = field(default_factory=set)

    def is_about(self, event: LineEvent) -> bool:
        """Tell whether an event is about the subject, or comes from what is and names nothing else."""
        if event.subject is not None and not event.is_end:
            return event.subject == self.subject
        return event.id in self.events or not event.causes.isdisjoint(self.executions) or event.subject == self.subject

    def takes(self, line: Line) -> bool:
        """Tell whether an execution goes: the same rules as in `hark.reach_further`."""
        if line.id in self.executions or line.parent_id in self.executions or line.subject == self.subject:
            return True
        return (line.subject is None or line.is_batch) and any(map(self.is_about, line.events))

    def events_of(self, line: Line) -> Iterator[UUID]:
        """Give the events that go with a line, or are emptied in one that stays."""
        taken = self.takes(line)
        for event in line.events:
            if self.is_about(event):
                if taken or event.says_something:
                    yield event.id
            elif taken and not line.is_batch and event.subject is None:
                yield event.id


def named_in(lines: Sequence[Line]) -> tuple[set[UUID], set[UUID]]:
    """Return the executions and events on which it depends whether lines are taken."""
    events = [event for line in lines for event in line.events]
    executions = {line.id for line in lines} | _there(line.parent_id for line in lines)
    return executions.union(*(event.causes for event in events)), {event.id for event in events}


def _there(ids: Iterable[UUID | None]) -> set[UUID]:
    return {one for one in ids if one is not None}
