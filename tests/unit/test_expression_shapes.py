"""Checking one expression for all that differ in their texts alone: each has the tree that it would have by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.workflows.cel import checker
from hark.workflows.cel.checker import Checked, check
from hark.workflows.cel.shapes import shape_of
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS

PIECES = [
    '"a"', "'b'", '"ü"', '""', "'x y'", '"it\'s"', '"a\\"b"', "r'raw'", 'b"by"', '"""long "text" """', "'''l'''",
    '// c "x"',
    "\n", " == ", " + ", " in ", "[", "]", "{", "}", ": ", "event.data.k", "new", '["k"]', "(", ")", " && ", ", ", "1",
    ".matches('[a-z]')", ".exists(t, t == 'x')", ".format(['y'])", " ? 'p' : 'q'", "timestamp('2026-01-01T00:00:00Z')",
]  # fmt: skip
sources = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.builds("event.data.{} == {}".format, st.sampled_from("ab"), st.sampled_from(PIECES[:11])),
    st.builds("{0}.exists(t, t == {1}) && {{{1}: {2}}}[{1}] != {0}".format, *[st.sampled_from(PIECES[:11])] * 3),
)


@given(sources)
def test_a_shape_gives_the_tree_of_the_expression_itself(source: str) -> None:
    assert _told(check, source) == _told(checker._check_alone, source)


def _told(reader: Callable[[str, frozenset[str]], Checked], source: str) -> Any:
    if not source.strip():
        return None
    try:
        return reader(source, ROOTS)
    except ExpressionError as error:
        return str(error), error.offset


def test_texts_share_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    check('event.data.customer == "c10001" && event.data.kind in ["aa", "bb"]', ROOTS)
    monkeypatch.setattr(checker, "_environment", lambda _: pytest.fail("it was checked again"))
    checked = check('event.data.customer == "c10002" && event.data.kind in ["cc", "dd"]', ROOTS)
    assert '"c10002"' in repr(checked).replace("'", '"')


def test_what_is_no_plain_text_stays() -> None:
    source = "r'a' + b'b' + '''c''' + 'd\\'e' + '' + \"f\" // 'g'"
    shape, texts = shape_of(source)
    assert list(texts.values()) == ["f"]
    assert len(shape) == len(source)
