"""Parts of a config that actions over HTTP share: URL, headers, authentication, body."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from hark.actions.config import ActionConfig, Text
from hark.actions.http_client import check_header_name, check_header_value, check_url

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def _checked_url(text: str) -> str:
    check_url(text)
    return text


def _without_nulls(value: Any) -> Any:
    return {name: item for name, item in value.items() if item is not None} if isinstance(value, dict) else value


def upper_case(value: Any) -> Any:
    """Write a string in upper case; anything else is left for the type to refuse."""
    return value.upper() if isinstance(value, str) else value


Url = Annotated[str, AfterValidator(_checked_url), WithJsonSchema({"type": "string", "format": "uri"})]
HeaderName = Annotated[str, AfterValidator(check_header_name)]
HeaderValue = Annotated[Text, AfterValidator(check_header_value)]
Headers = Annotated[
    dict[HeaderName, HeaderValue],
    BeforeValidator(_without_nulls),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}),
]
Method = Annotated[Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"], BeforeValidator(upper_case)]
StatusClass = Annotated[str, Field(pattern=r"^[1-5]xx$")]
Status = Annotated[int, Field(ge=100, le=599)]


class BasicAuth(ActionConfig):
    """User name and password, as of RFC 7617."""

    type: Literal["basic"]
    username: Text
    password: Text = ""

    def header(self) -> tuple[str, str]:
        """Return name and value of the header."""
        return "Authorization", f"Basic {b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


class BearerAuth(ActionConfig):
    """A token, as of RFC 6750."""

    type: Literal["bearer"]
    token: Text

    def header(self) -> tuple[str, str]:
        """Return name and value of the header."""
        return "Authorization", f"Bearer {self.token}"


class HeaderAuth(ActionConfig):
    """A key in a header of its own."""

    type: Literal["header"]
    name: HeaderName
    """Such as `X-Api-Key`."""
    value: HeaderValue

    def header(self) -> tuple[str, str]:
        """Return name and value of the header."""
        return self.name, self.value


Auth = Annotated[BasicAuth | BearerAuth | HeaderAuth, Field(discriminator="type")]


def has_header(headers: dict[str, str], name: str) -> bool:
    """Tell whether a header is there, in whatever case."""
    return any(key.lower() == name for key in headers)


def encode_body(value: Any) -> tuple[bytes, str]:
    """Return a body and its content type: a string as it is, everything else as JSON."""
    if isinstance(value, str):
        return value.encode(), "text/plain; charset=utf-8"
    return encode_json(value)


def encode_json(value: Any) -> tuple[bytes, str]:
    """Return a JSON document and its content type."""
    return orjson.dumps(value), "application/json"
