"""The page of an approval as HTML: plain, readable without script, and closed to everything from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources

from aiohttp import web

from hark.daemon.api.form_fields import FormField, fields_of
from hark.daemon.engine.approvals import LINK
from hark.daemon.store.approvals import Asked

_STYLE = (resources.files("hark.daemon.api") / "approval.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    # The address is the secret: it is told to nobody. `no-referrer` would make browsers hide the origin of the form.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
_INPUTS = {"integer": ("number", ' step="1"'), "number": ("number", ' step="any"')}
_FORMATS = {"email": "email", "date": "date", "uri": "url"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page, not sent yet."""

    status: int
    title: str
    body: str

    def response(self) -> web.Response:
        """Return it as an answer."""
        text = (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{self.body}\n"
            "</main>\n<footer>Hark</footer>\n</body>\n</html>\n"
        )
        return web.Response(text=text, status=self.status, content_type="text/html", headers=_HEADERS)


def question_page(
    asked: Asked,
    *,
    given: Mapping[str, str] | None = None,
    faults: Mapping[str, str] | None = None,
    fault: str = "",
    status: int = 200,
) -> Page:
    """Return the page that asks; after an answer that did not fit, with what was filled in and what is wrong."""
    given, faults = given or {}, faults or {}
    parts = [
        _head(asked),
        f'<p class="fault" role="alert">{escape(fault)}</p>' if fault else "",
        # Enter in a field presses the first button there is: this one, which does nothing.
        '<form method="post"><button disabled hidden></button>',
        *(_field(field, given, faults.get(field.name)) for field in fields_of(asked.form)),
        _text("comment", "Comment", given, '<textarea {} rows="3" maxlength="4000">{}</textarea>'),
        _text("name", "Your name", given, '<input {} type="text" maxlength="200" autocomplete="name" value="{}">'),
        '<p class="buttons"><button name="answer" value="approve" class="yes">Approve</button>',
        # Rejecting needs none of the fields.
        '<button name="answer" value="reject" class="no" formnovalidate>Reject</button></p>',
        "</form>",
    ]
    return Page(status, f"Approve? {asked.workflow_name}", "\n".join(part for part in parts if part))


def state_page(asked: Asked, *, status: int = 200) -> Page:
    """Return the page that says what has become of a question."""
    answer = asked.answer
    if answer is None:
        title = "No answer is taken any more"
        body = f"<p>{escape(asked.state[:1].upper() + asked.state[1:])}.</p>"
        return Page(410 if status == 200 else status, title, f"{_head(asked)}\n<h2>{title}</h2>\n{body}")
    title = "Approved" if answer["approved"] else "Rejected"
    by = "over the link" if answer["by"] == LINK else f"by <strong>{escape(str(answer['by']))}</strong>"
    when = f" on {_moment(asked.answered_at)}" if asked.answered_at else ""
    comment = f"<blockquote>{escape(answer['comment'])}</blockquote>" if answer["comment"] else ""
    kind = "yes" if answer["approved"] else "no"
    note = f'<p role="status" class="state {kind}">{title} {by}{when}.</p>'
    late = (
        '<p class="fault" role="alert">It was answered already; your answer does not count.</p>'
        if status == 409
        else ""
    )
    return Page(status, f"{title}: {asked.workflow_name}", f"{_head(asked)}\n{late}\n{note}\n{comment}")


def error_page(status: int, title: str, text: str) -> Page:
    """Return a page that says why there is nothing to see."""
    return Page(status, title, f"<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>")


def _head(asked: Asked) -> str:
    until = f"<dt>Until</dt><dd>{_moment(asked.until)}</dd>" if asked.until else ""
    message = asked.message.strip() or f"Step {asked.path} waits for an answer."
    return (
        f'<p class="from">{escape(asked.workflow_name)}</p>\n<h1>{escape(message)}</h1>\n'
        f"<dl><dt>Asked</dt><dd>{_moment(asked.since)}</dd>{until}</dl>"
    )


def _moment(moment: datetime | None) -> str:
    if moment is None:
        return ""
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M} UTC</time>'


def _text(name: str, label: str, given: Mapping[str, str], control: str) -> str:
    filled = control.format(f'id="{name}" name="{name}"', escape(given.get(name, "")))
    return f'<p><label for="{name}">{label} <small>(optional)</small></label>\n{filled}</p>'


def _field(field: FormField, given: Mapping[str, str], fault: str | None) -> str:
    """Draw one field with its label, its description and what is wrong with it, all tied to each other."""
    key = escape(field.key)
    hints = []
    if field.spec.get("description"):
        hints.append(f'<small id="{key}-about">{escape(str(field.spec["description"]))}</small>')
    if fault:
        hints.append(f'<span id="{key}-fault" class="fault">{escape(fault)}</span>')
    described = " ".join(
        f"{key}-{part}" for part, there in (("about", field.spec.get("description")), ("fault", fault)) if there
    )
    attributes = f'id="{key}" name="{key}"'
    attributes += f' aria-describedby="{described}"' if described else ""
    attributes += ' aria-invalid="true"' if fault else ""
    value = given.get(field.key, "" if given else field.default)
    label = f'<label for="{key}">{escape(field.label)}{"" if field.required else " <small>(optional)</small>"}</label>'
    if field.kind == "boolean":
        label = f'<label for="{key}">{escape(field.label)}</label>'
        return f'<p class="check">{_control(field, attributes, value)} {label}\n{"".join(hints)}</p>'
    attributes += " required" if field.required else ""
    return f"<p>{label}\n{_control(field, attributes, value)}\n{''.join(hints)}</p>"


def _control(field: FormField, attributes: str, value: str) -> str:
    match field.kind:
        case "boolean":
            return f'<input {attributes} type="checkbox" value="true"{" checked" if value == "true" else ""}>'
        case "choice":
            return f"<select {attributes}>{_options(field, value)}</select>"
        case "json":
            return f'<textarea {attributes} rows="4" spellcheck="false">{escape(value)}</textarea>'
        case "string" if field.spec.get("maxLength", 0) > 200 or "\n" in value:
            return f'<textarea {attributes} rows="4"{_bounds(field)}>{escape(value)}</textarea>'
        case _:
            kind, step = _INPUTS.get(field.kind, (_FORMATS.get(str(field.spec.get("format")), "text"), ""))
            return f'<input {attributes} type="{kind}"{step}{_bounds(field)} value="{escape(value)}">'


def _options(field: FormField, value: str) -> str:
    options = [] if field.required and value else ['<option value=""></option>']
    for sent, shown in field.choices:
        mark = " selected" if sent == value else ""
        options.append(f'<option value="{escape(sent)}"{mark}>{escape(shown)}</option>')
    return "".join(options)


def _bounds(field: FormField) -> str:
    """Tell the browser the limits that it can keep too."""
    names = {"minimum": "min", "maximum": "max", "minLength": "minlength", "maxLength": "maxlength"}
    found = [(names[key], field.spec[key]) for key in names if isinstance(field.spec.get(key), int | float)]
    return "".join(f' {name}="{value}"' for name, value in found)
