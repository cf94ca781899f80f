"""Errors as answers: RFC 9457 problem documents, for everything that Hark raises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import structlog
from aiohttp import web
from pydantic import ValidationError

from hark.daemon.api.bodies import BadBodyError, CompressedError, TooLargeError, TooSlowError
from hark.workflows.errors import (
    DefinitionError,
    ExpressionError,
    HarkError,
    Problem,
    RequestError,
    UnavailableError,
    UnprocessableError,
    dotted_path,
)

log = structlog.get_logger(__name__)

_TYPE = "application/problem+json"


class MethodNotAllowedError(RequestError):
    """The address is good, the method is not."""

    status, title = 405, "Method not allowed"


def problem_item(problem: Problem) -> dict[str, Any]:
    """Return a problem of a definition as the API shows it."""
    return {
        "file": problem.file,
        "line": problem.place.line if problem.place else None,
        "column": problem.place.column if problem.place else None,
        "path": dotted_path(problem.path),
        "message": problem.message,
        "hint": problem.hint,
        "severity": problem.severity,
    }


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    problems: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Make a problem document; its `type` is stable and made of the title."""
    document: dict[str, Any] = {
        "type": f"urn:hark:problem:{title.lower().replace(' ', '-')}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    items = [problem_item(problem) for problem in problems]
    if items:
        document["problems"] = items
    return web.Response(body=orjson.dumps(document), status=status, content_type=_TYPE, headers=headers)


def busy() -> web.Response:
    """Answer that there is no room, and hang up."""
    answer = problem_response(
        503, "Unavailable", "too many requests are in flight; try again", headers={"Retry-After": "1"}
    )
    answer.force_close()
    return answer


def response_for(error: Exception) -> web.Response:
    """Turn an error into its answer. What Hark does not raise on purpose is logged and told without details."""
    match error:
        case RequestError():
            return _refused(error)
        case UnavailableError():
            return _unavailable(error)
        case DefinitionError():
            detail = error.problems[0].message if len(error.problems) == 1 else f"{len(error.problems)} problems"
            return problem_response(422, "Definition refused", detail, problems=error.problems)
        case ExpressionError():
            return problem_response(422, "Expression refused", str(error))
        case HarkError():
            return problem_response(400, "Bad request", str(error))
        case _:
            log.error("request.broken", exc_info=error)
            return problem_response(500, "Internal error", "Hark made a mistake; its log says more")


def _refused(error: RequestError) -> web.Response:
    headers = {"WWW-Authenticate": 'Bearer realm="hark"'} if error.status == 401 else None
    answer = problem_response(error.status, error.title, error.detail, problems=error.problems, headers=headers)
    if isinstance(error, CompressedError | TooLargeError | TooSlowError | BadBodyError):
        answer.force_close()  # the rest of the body is not read
    return answer


def _unavailable(error: UnavailableError) -> web.Response:
    status, title = (429, "Too many requests") if error.overloaded else (503, "Unavailable")
    headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    answer = problem_response(status, title, str(error), headers=headers)
    if error.overloaded:
        answer.force_close()
    return answer


def refusal_of(error: ValidationError, what: str) -> UnprocessableError:
    """Turn what pydantic found wrong with a request into an error that says where."""
    problems = [
        Problem(
            found["msg"].removeprefix("Value error, "),
            tuple(found["loc"]),
        )
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = problems[0]
    where = dotted_path(first.path)
    return UnprocessableError(f"{what}: {where}: {first.message}" if where else f"{what}: {first.message}", problems)
