"""JSON on its way into the record."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.daemon.engine.payload import Masker, encode
from hark.workflows.errors import UnprocessableError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_a_value_is_refused_exactly_when_it_holds_the_character_nul(value: object) -> None:
    if "\x00" in repr_of_strings(value):
        with pytest.raises(UnprocessableError, match=r"U\+0000"):
            encode(value)
    else:
        assert orjson.loads(encode(value)) == value


def repr_of_strings(value: object) -> str:
    """Join all strings of a value."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(repr_of_strings(item) for item in value)
    if isinstance(value, dict):
        return "".join(repr_of_strings(key) + repr_of_strings(item) for key, item in value.items())
    return ""


def test_a_written_out_escape_is_text() -> None:
    assert orjson.loads(encode("\\u0000")) == "\\u0000"
    with pytest.raises(UnprocessableError):
        encode("\\\x00")


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(UnprocessableError):
        encode({"text": "\ud800"})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=20), texts, texts)
def test_a_secret_is_found_wherever_it_stands(secret: str, before: str, after: str) -> None:
    masker = Masker([secret])
    value = {"list": [before + secret + after], secret: 1}
    assert masker.finds(orjson.dumps(value).decode())
    masked = masker.masked(value)
    assert secret not in masked
    assert masked["list"] == [(before + secret + after).replace(secret, "***")]


def test_of_two_secrets_the_longer_one_goes_first() -> None:
    assert Masker(["abcd", "abcdef"]).masked("x abcdef y") == "x *** y"
    assert Masker(["abcd"]).beside(["abcdef"]).masked("x abcdef y abcd") == "x *** y ***"


def test_short_values_and_parts_of_numbers_are_left_alone() -> None:
    """A secret of digits inside a longer number used to break the JSON that it was replaced in."""
    assert Masker(["1", "no", "1234"]).masked(["no 1", 99123499, True, 1234]) == ["no 1", 99123499, True, "***"]


def test_a_secret_of_several_lines_is_found() -> None:
    assert Masker(["BEGIN\nkey\n"]).masked('a "BEGIN\nkey\n" b') == 'a "***" b'
