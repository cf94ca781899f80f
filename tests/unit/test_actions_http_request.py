"""The action http_request: what it sends, what it makes of the answer."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import ValidationError
from support.actions import NOW, FakeHttp, make_context, run_action

from hark.actions.http_answers import LONGEST_RETRY_AFTER_S, read_body, retry_after_s
from hark.actions.http_request import HttpRequest, HttpRequestConfig
from hark.workflows.catalogue import HttpAnswer
from hark.workflows.errors import ActionError

URL = "https://api.example.org/v1"
JSON = {"content-type": "application/json; charset=utf-8"}


def answer(status: int = 200, body: bytes = b"", headers: dict[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(status, headers or {}, body, URL + "?token=s3cret")


async def sent(config: dict[str, Any]) -> dict[str, Any]:
    http = FakeHttp()
    await run_action(HttpRequest(), {"url": URL, **config}, make_context(http=http))
    return http.requests[0]


async def outcome(response: HttpAnswer, **config: Any) -> dict[str, Any]:
    output = await run_action(HttpRequest(), {"url": URL, **config}, make_context(http=FakeHttp(response)))
    assert isinstance(output.pop("duration_ms"), int)
    return dict(output)


async def failure(response: HttpAnswer, **config: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        await outcome(response, **config)
    return caught.value


@pytest.mark.parametrize(
    "config, body, content_type",
    [
        ({"json": {"a": [1, None]}}, b'{"a":[1,null]}', "application/json"),
        ({"json": None}, b"null", "application/json"),
        ({"body": "plain ä"}, "plain ä".encode(), "text/plain; charset=utf-8"),
        ({"body": {"a": 1}}, b'{"a":1}', "application/json"),
        ({"body": "<a/>", "headers": {"content-type": "text/xml"}}, b"<a/>", "text/xml"),
        ({"form": {"a": "b c", "n": [1, True], "no": None}}, b"a=b+c&n=1&n=true", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_body_is_written_with_its_content_type(config: dict[str, Any], body: bytes, content_type: str) -> None:
    request = await sent({"method": "post", **config})
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert (request["method"], request["body"], headers["content-type"]) == ("POST", body, content_type)


async def test_without_a_body_there_is_no_content_type() -> None:
    request = await sent({})
    assert (request["method"], request["body"], request["headers"]) == ("GET", None, {})


@pytest.mark.parametrize(
    "url, whole", [(URL, "?a=x%26y&l=1&l=2"), (URL + "?old=1#part", "?old=1&a=x%26y&l=1&l=2#part")]
)
async def test_query_parameters_are_added_to_those_of_the_url(url: str, whole: str) -> None:
    request = await sent({"url": url, "query": {"a": "x&y", "l": [1, 2], "no": None}})
    assert request["url"] == URL + whole


@pytest.mark.parametrize(
    "auth, header",
    [
        ({"type": "basic", "username": "ada", "password": "pä"}, ("Authorization", "Basic YWRhOnDDpA==")),
        ({"type": "bearer", "token": "t"}, ("Authorization", "Bearer t")),
        ({"type": "header", "name": "X-Api-Key", "value": 7}, ("X-Api-Key", "7")),
    ],
)
async def test_authentication_becomes_a_header(auth: dict[str, Any], header: tuple[str, str]) -> None:
    request = await sent({"auth": auth, "headers": {header[0].lower(): "other", "N": 1, "No": None}})
    assert request["headers"] == {header[0]: header[1], "N": "1"}


async def test_what_changes_something_carries_the_steps_idempotency_key() -> None:
    assert (await sent({"method": "DELETE"}))["headers"] == {"Idempotency-Key": "key-1"}
    assert (await sent({"method": "PUT", "headers": {"idempotency-key": "mine"}}))["headers"] == {
        "idempotency-key": "mine"
    }
    assert (await sent({"method": "HEAD"}))["headers"] == {}


async def test_limits_are_passed_on() -> None:
    request = await sent({"timeout": "2s", "maxBytes": 10, "follow_redirects": False})
    assert (request["timeout_s"], request["max_bytes"], request["max_redirects"]) == (2.0, 10, 0)


@pytest.mark.parametrize(
    "body, headers, read",
    [
        (b'{"a": [1]}', JSON, {"body": {"a": [1]}}),
        (b'{"a": 1}', {"content-type": "application/problem+json"}, {"body": {"a": 1}}),
        (b'{"a": 1}', {"content-type": "text/plain"}, {"body": '{"a": 1}'}),
        (b"<html>", JSON, {"body": "<html>"}),
        (b'{"a": "\\u0000"}', JSON, {"body": '{"a": "\\u0000"}'}),
        (b'{"a": "\\\\u0000"}', JSON, {"body": {"a": "\\u0000"}}),
        (b"", JSON, {"body": None}),
        ("ä".encode("latin-1"), {"content-type": "text/plain; charset=iso-8859-1"}, {"body": "ä"}),
        (b"\xff\x00", {}, {"body": "/wA=", "encoding": "base64"}),
        (b"a\0b", {}, {"body": "YQBi", "encoding": "base64"}),
        (b"abc", {"content-type": "text/plain; charset=punycode"}, {"body": "YWJj", "encoding": "base64"}),
        (b"abc", {"content-type": "text/plain; charset=nonsense"}, {"body": "YWJj", "encoding": "base64"}),
        (b"+2AA-", {"content-type": "text/plain; charset=utf-7"}, {"body": "KzJBQS0=", "encoding": "base64"}),
        (b"6869", {"content-type": "text/plain; charset=hex"}, {"body": "Njg2OQ==", "encoding": "base64"}),
    ],
)
def test_a_body_comes_as_json_as_text_or_as_base64(body: bytes, headers: dict[str, str], read: dict[str, Any]) -> None:
    assert read_body(answer(200, body, headers)) == read


async def test_the_output_says_what_came_from_where() -> None:
    output = await outcome(answer(201, b"1", JSON))
    assert output == {"status": 201, "headers": JSON, "body": 1, "url": URL + "?token=s3cret"}


@pytest.mark.parametrize(
    "status, retryable",
    [
        *((status, False) for status in (400, 401, 403, 404, 409, 410, 422)),
        *((status, True) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
    ],
)
async def test_only_what_may_pass_is_retryable(status: int, retryable: bool) -> None:
    assert (await failure(answer(status))).retryable is retryable


async def test_a_failure_tells_status_and_the_beginning_of_the_body_but_no_query() -> None:
    error = await failure(answer(422, b"e" * 5000, {"retry-after": "7"}), method="PATCH")
    assert error.error_class == "http_status"
    assert error.details == {"status": 422, "body": "e" * 2000}
    assert error.retry_after_s == 7.0
    assert str(error) == f"PATCH {URL} answered 422"


@pytest.mark.parametrize(
    "expect, good, bad", [([200, 404], 404, 201), (["2xx"], 204, 304), ([], 304, 400), (["4xx", 200], 418, 500)]
)
async def test_expect_says_what_is_a_success(expect: list[Any], good: int, bad: int) -> None:
    assert (await outcome(answer(good), expect=expect))["status"] == good
    await failure(answer(bad), expect=expect)


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("120", 120.0),
        ("9999999999999999", LONGEST_RETRY_AFTER_S),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), LONGEST_RETRY_AFTER_S),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_and_capped(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    "config, said",
    [
        ({}, "Field required"),
        ({"url": "example.org"}, "begins with https://"),
        ({"url": "https://u:p@example.org"}, "use `auth`"),
        ({"url": URL, "method": "FETCH"}, "Input should be"),
        ({"url": URL, "json": 1, "body": "x"}, "write `json` or `body`, not both"),
        ({"url": URL, "headers": {"A": "b\r\nC: d"}}, "line breaks"),
        ({"url": URL, "headers": {"Transfer-Encoding": "chunked"}}, "cannot be set"),
        ({"url": URL, "auth": {"type": "digest"}}, "basic"),
        ({"url": URL, "expect": ["ok"]}, "xx"),
        ({"url": URL, "timeout": "2h"}, "less than or equal"),
        ({"url": URL, "timeout": 0}, "greater than"),
        ({"url": URL, "max_bytes": 10**9}, "less than or equal"),
        ({"url": URL, "jsn": {}}, "Extra inputs"),
    ],
)
def test_a_wrong_config_is_refused_with_what_would_be_right(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HttpRequestConfig.model_validate(config)
