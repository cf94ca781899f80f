"""What one execution alone is handed at its start, beside its inputs: variables, and secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hark.daemon.engine.payload import Masker, encode
from hark.workflows.errors import Problem, UnprocessableError

MOST_NAMES = 100
MOST_SECRETS = 64 * 1024
"""Bytes of all of them: a key with its certificates has a tenth of that. Every part of the execution has them too."""
_NAME = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Checked variables and secrets. Neither changes while the execution runs, though its `vars` do."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    masked: tuple[str, ...] = field(default=(), repr=False)
    """What is no secret of this execution and masked all the same: its secrets may be made of those of its caller."""

    def __bool__(self) -> bool:
        return bool(self.variables or self.secrets)

    @classmethod
    def checked(cls, variables: Mapping[str, Any] | None, secrets: Mapping[str, str] | None) -> HandedOver:
        """Check what was given. Raises UnprocessableError with every problem; it never tells a value."""
        problems = [
            *_wrong_names("variables", variables or {}),
            *_wrong_names("secrets", secrets or {}),
            *(Problem(wrong, ("secrets", name)) for name, value in (secrets or {}).items() if (wrong := _wrong(value))),
            *_too_large((secrets or {}).values()),
        ]
        if problems:
            raise UnprocessableError("; ".join(str(problem) for problem in problems[:5]), problems)
        return cls(dict(variables or {}), dict(secrets or {}))

    @property
    def encoded_variables(self) -> str | None:
        """The variables as they go on record. Raises UnprocessableError when jsonb cannot hold them."""
        return encode(self.variables, "the variables") if self.variables else None


def _wrong_names(what: str, given: Iterable[str]) -> Iterator[Problem]:
    names = list(given)
    if len(names) > MOST_NAMES:
        yield Problem(f"{len(names)} are more than the {MOST_NAMES} that may be handed over", (what,))
    for name in names:
        if not _NAME.fullmatch(name):
            yield Problem(f"{name[:100]!r} is no name: letters, digits and _, such as api_key", (what,))


def _wrong(value: Any) -> str | None:
    """Say what is wrong with a secret."""
    if not isinstance(value, str):
        return "a secret is a text"
    if len(value) < Masker.SHORTEST:
        return f"a secret of fewer than {Masker.SHORTEST} characters cannot be masked in what goes on record"
    return None


def _too_large(values: Iterable[Any]) -> Iterator[Problem]:
    size = sum(len(value.encode(errors="replace")) for value in values if isinstance(value, str))
    if size > MOST_SECRETS:
        yield Problem(f"they have {size:,} bytes; all together may have {MOST_SECRETS:,} bytes", ("secrets",))
