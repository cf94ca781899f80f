"""What the doctor found, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: what is so, what to do about it, and the figures behind it (fit for JSON)."""

    check: str
    level: Level
    message: str
    advice: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def ok(message: str, **detail: Any) -> Finding:
    """Say that something is as it should be. Whoever runs the check puts its name in."""
    return Finding("", "ok", message, detail=detail)


def warning(message: str, advice: str, **detail: Any) -> Finding:
    """Say that something needs attention although the daemon can work."""
    return Finding("", "warning", message, advice, detail)


def error(message: str, advice: str, **detail: Any) -> Finding:
    """Say that something keeps the daemon from its work, or from keeping its promises."""
    return Finding("", "error", message, advice, detail)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether the daemon can do all of its work; warnings do not stand in the way."""
    return all(finding.level != "error" for finding in findings)


def document(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return findings as `{healthy, findings: [{check, level, message, advice, detail}]}`, fit for JSON."""
    listed = list(findings)
    return {"healthy": healthy(listed), "findings": [asdict(finding) for finding in listed]}
