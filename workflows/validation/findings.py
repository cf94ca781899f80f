"""What checking finds, by paths of the normalised definition; places come in at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hark.workflows.errors import Problem
from hark.workflows.forms.trace import Origins
from hark.workflows.source import Document, Path

MAX_FINDINGS = 200
"""More than this many are not listed: the first ones have to be mended anyway."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong, or suspicious, at a path of the normalised definition."""

    path: Path
    message: str
    hint: str = ""
    key: bool = False
    """It is about the key and not about its value."""
    offset: int | None = None
    """Which character of the string at the path."""
    warning: bool = False


@dataclass(slots=True)
class Findings:
    """Collects findings; of those at one place with one message only the first stays."""

    found: list[Finding] = field(default_factory=list)
    _seen: set[tuple[Path, str]] = field(default_factory=set)

    def error(self, path: Path, message: str, hint: str = "", *, key: bool = False, offset: int | None = None) -> None:
        """Refuse the definition."""
        self.add(Finding(path, message, hint, key, offset))

    def warn(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        """Tell something without refusing the definition."""
        self.add(Finding(path, message, hint, key, warning=True))

    def add(self, finding: Finding) -> None:
        """Take a finding in."""
        if (finding.path, finding.message) not in self._seen:
            self._seen.add((finding.path, finding.message))
            self.found.append(finding)


def to_problems(findings: Iterable[Finding], document: Document, origins: Origins) -> list[Problem]:
    """Give findings their places and their order in the source."""
    return in_order(_to_problem(finding, document, origins) for finding in findings)[:MAX_FINDINGS]


def _to_problem(finding: Finding, document: Document, origins: Origins) -> Problem:
    path = origins.source(finding.path)
    place = document.place(path, key=finding.key, offset=finding.offset)
    severity = "warning" if finding.warning else "error"
    return Problem(finding.message, path, finding.hint, place, document.file, severity)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems as their source has them; those without a place come first."""
    return sorted(problems, key=lambda each: (each.place.line, each.place.column) if each.place else (0, 0))
