"""`/approve/{token}`: the page on which people answer, opened by whoever has the link."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from hark.daemon.api.approval_html import Page, error_page, question_page, state_page
from hark.daemon.api.form_fields import values_of
from hark.daemon.api.services import Services
from hark.daemon.api.table import SERVICES
from hark.daemon.engine.approval_links import PREFIX, read_token
from hark.daemon.engine.approvals import LINK, Said
from hark.daemon.engine.form import FormRules
from hark.daemon.store.approvals import Asked
from hark.workflows.errors import ConflictError, ForbiddenError, RequestError, UnavailableError, UnprocessableError

PATH = PREFIX + "{token}"
_LARGEST = 64 * 1024
_LONGEST_COMMENT = 4000
_LONGEST_NAME = 200


_Handler = Callable[[web.Request], Awaitable[web.Response]]


def _for_people(handler: _Handler) -> _Handler:
    """Say what goes wrong as a page."""

    @wraps(handler)
    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except RequestError as error:
            return error_page(error.status, error.title, error.detail).response()
        except UnavailableError:
            return error_page(503, "Not now", "Hark cannot answer right now. Try again in a minute.").response()

    return handle


@_for_people
async def show(request: web.Request) -> web.Response:
    """Show the question, or what has become of it. Looking changes nothing: programs that preview links only look."""
    asked = await _asked(request)
    if asked is None:
        return _unknown().response()
    if not asked.is_open:
        return state_page(asked).response()
    return _refused(asked) or question_page(asked).response()


@_for_people
async def answer(request: web.Request) -> web.Response:
    """Take the answer of the form."""
    services = request.app[SERVICES]
    if not _is_ours(request, services):
        return error_page(403, "Not from this page", "Open the link itself and answer there.").response()
    asked = await _asked(request)
    if asked is None:
        return _unknown().response()
    if services.stopping:
        return error_page(503, "Not now", "Hark is just being restarted. Try again in a minute.").response()
    fields = await _fields(request, services)
    approved = {"approve": True, "reject": False}.get(fields.get("answer", ""))
    if approved is None:
        return question_page(asked, given=fields, fault="Press one of the two buttons.", status=422).response()
    return await _answered(services, asked, fields, approved=approved)


async def _answered(services: Services, asked: Asked, fields: dict[str, str], *, approved: bool) -> web.Response:
    comment, name = fields.get("comment", "").strip(), fields.get("name", "").strip()
    try:
        if len(comment) > _LONGEST_COMMENT or len(name) > _LONGEST_NAME:
            raise UnprocessableError(f"The comment may have {_LONGEST_COMMENT} characters, the name {_LONGEST_NAME}.")
        form = values_of(asked.form, fields, complete=approved)
        # Who rejects need not fill in the form, and half a form is no reason to refuse a no.
        form = form if approved else FormRules(asked.form).fitting(form)
        said = Said(approved, by=name or LINK, via=LINK, comment=comment, form=form)
        await services.engine.approvals.answer(asked, said)
    except UnprocessableError as error:
        faults = {str(problem.path[-1]): problem.message for problem in error.problems}
        fault = "Some fields need another look." if faults else error.detail
        return question_page(asked, given=fields, faults=faults, fault=fault, status=422).response()
    except ForbiddenError:
        return _refused(asked) or _unknown().response()
    except ConflictError:
        pass  # somebody was quicker: the page says who
    now = await services.engine.approvals.store.again(asked) or asked
    ours = now.answer is not None and now.answer.get("via") == LINK and now.answer["approved"] is approved
    return state_page(now, status=200 if ours else 409).response()


async def _asked(request: web.Request) -> Asked | None:
    token = read_token(request.match_info["token"])
    if token is None:
        return None
    store = request.app[SERVICES].engine.approvals.store
    return await store.by_token(token.execution_id, token.digest)


def _unknown() -> Page:
    return error_page(
        404,
        "Nothing waits here",
        "This link is not complete, or what it is about has not come so far yet, or is gone. "
        "If somebody has just sent it to you, try again in a minute.",
    )


def _refused(asked: Asked) -> web.Response | None:
    if not asked.approvers or LINK in asked.approvers:
        return None
    who = ", ".join(asked.approvers)
    return error_page(403, "Not by link", f"This is answered by: {who}. The link does not do.").response()


async def _fields(request: web.Request, services: Services) -> dict[str, str]:
    raw = await services.bodies.read(request, _LARGEST)
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise UnprocessableError("This is not what the page sends.") from None
    return {name: value.replace("\0", "") for name, value in pairs}


def _is_ours(request: web.Request, services: Services) -> bool:
    """Tell whether the form was sent by this page. The token alone keeps others out; this keeps out who found it."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    if origin is None:
        return True  # no browser of these years
    return urlsplit(origin).netloc in (request.host, urlsplit(services.settings.base_url).netloc)
