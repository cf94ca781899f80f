"""The table of routes: each entry says how it is called, who may, what it takes and what it answers.

Handlers are functions of a `Call`; everything around them (key, scope, parameters, body, errors) is done once, in
`endpoint`. The same table makes the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from hark.daemon.api.auth import Caller, Scope
from hark.daemon.api.paging import Query
from hark.daemon.api.problems import refusal_of
from hark.daemon.api.services import Services
from hark.triggers import json_text
from hark.workflows.errors import NotFoundError, UnavailableError, UnprocessableError
from hark.workflows.ids import TenantId

QueryT = TypeVar("QueryT", bound=BaseModel)
BodyT = TypeVar("BodyT", bound=BaseModel)

SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
_LARGEST_UPLOAD = 32 * 1024**2


class NoBody(BaseModel):
    """The request has no body."""


@dataclass(slots=True)
class Call(Generic[QueryT, BodyT]):
    """One request, with all that its handler may want to know."""

    services: Services
    caller: Caller
    query: QueryT
    body: BodyT
    request: web.Request
    raw: bytes

    @property
    def tenant_id(self) -> TenantId:
        """Whose data the request is about."""
        return self.caller.tenant_id

    def name(self, parameter: str) -> str:
        """Return a part of the path. Raises NotFoundError for what no name can be."""
        name = self.request.match_info[parameter]
        if not _is_storable(name):
            raise NotFoundError(f"there is no {parameter} {name!r}")
        return name

    def id(self, parameter: str, what: str) -> UUID:
        """Return a part of the path that must be an id. Raises NotFoundError."""
        try:
            return UUID(self.request.match_info[parameter])
        except ValueError:
            raise NotFoundError(
                f"there is no {what} {self.request.match_info[parameter]!r}: its id is a UUID"
            ) from None


Handler = Callable[[Call[Any, Any]], Awaitable[Any]]
HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Route:
    """One entry. The handler returns what is encoded as JSON, or a response of its own."""

    method: str
    path: str
    handler: Handler
    summary: str
    scope: Scope
    answer: Any
    query: type[BaseModel]
    body: type[BaseModel]
    status: int
    large: bool
    media: tuple[str, ...]
    tag: str


@dataclass(slots=True)
class Table:
    """The routes of one subject."""

    tag: str
    routes: list[Route] = field(default_factory=list)

    def add(
        self,
        method_and_path: str,
        *,
        scope: Scope,
        answer: Any,
        query: type[BaseModel] = Query,
        body: type[BaseModel] = NoBody,
        status: int = 200,
        large: bool = False,
        media: tuple[str, ...] = (),
    ) -> Callable[[HandlerT], HandlerT]:
        """Enter a handler; the first line of its docstring is the summary.

        `large`: the body may have more bytes than usual. `media`: the types of body that the handler reads itself, from
        `call.raw`; without it the body is JSON and checked against `body`.
        """

        def enter(handler: HandlerT) -> HandlerT:
            method, path = method_and_path.split(" ")
            summary = (handler.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
            route = Route(method, path, handler, summary, scope, answer, query, body, status, large, media, self.tag)
            self.routes.append(route)
            return handler

        return enter


def encode(value: Any) -> bytes:
    """Encode an answer; ids of the database driver are ids too."""
    return orjson.dumps(value, default=str)


async def answer(route: Route, services: Services, request: web.Request) -> web.StreamResponse:
    """Answer one request of the API: who is it, what do they want, and may they."""
    caller = await services.keys.identify(request.headers)
    caller.require(route.scope)
    if services.stopping and request.method != "GET":
        raise UnavailableError("this instance is stopping", retry_after_s=2)
    query = _query(route.query, request)
    raw = b""
    if request.body_exists:
        limit = _LARGEST_UPLOAD if route.large else services.settings.max_body_bytes
        raw = await services.bodies.read(request, limit)
    body = NoBody() if route.media else _body(route.body, raw)
    result = await route.handler(Call(services, caller, query, body, request, raw))
    if isinstance(result, web.StreamResponse):
        return result
    return web.Response(body=encode(result), status=route.status, content_type="application/json")


def _query(model: type[BaseModel], request: web.Request) -> BaseModel:
    for name, value in request.query.items():
        if not (_is_storable(name) and _is_storable(value)):
            raise UnprocessableError(f"parameters: {name!r} holds a character that no text can hold")
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        raise refusal_of(error, "parameters") from error


def _is_storable(text: str) -> bool:
    """Tell whether PostgreSQL takes a text: without U+0000 and lone surrogates, which stand for bytes not in UTF-8."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def _body(model: type[BaseModel], raw: bytes) -> BaseModel:
    if model is NoBody:
        return NoBody()
    try:
        return model.model_validate(read_json(raw) if raw else {})
    except ValidationError as error:
        raise refusal_of(error, "body") from error


def read_json(raw: bytes) -> Any:
    """Parse a body as JSON that jsonb can hold. Raises UnprocessableError that says where."""
    try:
        return json_text.read_json(raw)
    except ValueError as error:
        raise UnprocessableError(f"the body is not JSON that can be stored: {error}") from error
