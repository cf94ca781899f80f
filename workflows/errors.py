"""Every error that Hark raises on purpose.

HarkError
├── DefinitionError      a workflow file or definition is wrong (holds a list of Problem)
├── ExpressionError      an expression could not be compiled, or failed when evaluated
│   ├── MissingFieldError   … because it read a field that is not there
│   └── TemplateError       … inside of a value that holds ${{ … }}; knows where in it
├── ConfigurationError   the settings of this process are wrong
├── ActionError          an action failed; `retryable` says whether another attempt may help
├── RequestError         a caller asked for something that cannot be done (carries an HTTP status)
│   ├── NotFoundError       404
│   ├── ConflictError       409
│   ├── UnauthorizedError   401
│   ├── ForbiddenError      403
│   └── UnprocessableError  422
├── UnavailableError     the database or this instance cannot take work now; try again later
│   └── ReadOnlyError    the database answers and takes no writes: a standby, or what was the primary
└── FencedError          another instance took over; nothing this one still holds may be written
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


class HarkError(Exception):
    """Root of all errors that Hark raises on purpose."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a source text something stands; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a definition.

    `path` leads into the definition (`("steps", 0, "with", "to")`); `hint` says what would be right.
    """

    message: str
    path: tuple[str | int, ...] = ()
    hint: str = ""
    place: Place | None = None
    file: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        where = self.file
        if self.place is not None:
            where += f":{self.place.line}:{self.place.column}"
        dotted = dotted_path(self.path)
        parts = [part for part in (where.lstrip(":"), dotted) if part]
        text = ": ".join([*parts, self.message])
        return f"{text} ({self.hint})" if self.hint else text


def dotted_path(path: Sequence[str | int]) -> str:
    """Write a path the way people do: `steps[0].with.to`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class DefinitionError(HarkError):
    """A definition was refused; `problems` holds everything found, in the order of the source."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ExpressionError(HarkError):
    """An expression did not compile, or failed when it was evaluated."""

    def __init__(self, message: str, *, expression: str = "", hint: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.expression = expression
        self.hint = hint
        self.offset = offset


class MissingFieldError(ExpressionError):
    """An expression read a field that its data does not have; `path` names it as far as it is known."""

    def __init__(self, message: str, *, path: str, expression: str = "") -> None:
        super().__init__(message, expression=expression)
        self.path = path


class TemplateError(ExpressionError):
    """An expression inside of a value did not compile; `path` leads to the text, `offset` counts within that text."""

    def __init__(self, error: ExpressionError, *, path: tuple[str | int, ...], offset: int | None) -> None:
        super().__init__(str(error), expression=error.expression, hint=error.hint, offset=offset)
        self.path = path


class ConfigurationError(HarkError):
    """The settings of this process are wrong; the message says which, and what would be right."""


class ActionError(HarkError):
    """An action failed.

    `retry_after_s` is the remote side's own wish; `error_class` is a stable word for `retry.when` and for reports.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: str = "action_failed",
        retryable: bool = True,
        retry_after_s: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.details = dict(details or {})


@dataclass
class RequestError(HarkError):
    """A caller asked for something that cannot be done; becomes an RFC 9457 problem document."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad request"
    detail: str
    problems: Sequence[Problem] = field(default=())

    def __str__(self) -> str:
        return self.detail


class NotFoundError(RequestError):
    """What was asked for does not exist, or not for this tenant."""

    status, title = 404, "Not found"


class ConflictError(RequestError):
    """The state of what was asked for does not allow it."""

    status, title = 409, "Conflict"


class UnauthorizedError(RequestError):
    """No credentials, or wrong ones."""

    status, title = 401, "Unauthorized"


class ForbiddenError(RequestError):
    """The credentials are good but do not reach this far."""

    status, title = 403, "Forbidden"


class UnprocessableError(RequestError):
    """The request was understood and its content is wrong."""

    status, title = 422, "Unprocessable content"


class UnavailableError(HarkError):
    """The database is away, or too much is in flight: nothing was stored, the caller should try again."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, overloaded: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.overloaded = overloaded


class ReadOnlyError(UnavailableError):
    """The database takes no writes: it is a standby, or has been told so. Another server may be the primary by now."""


class FencedError(HarkError):
    """Another instance has taken over this one's work: whatever it still holds must not be written."""
