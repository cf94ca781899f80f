"""Reading: YAML 1.2 and JSON with places, and everything that is refused before a definition is looked at."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.workflows.errors import DefinitionError, Place, Problem
from hark.workflows.reading import MAX_BYTES, read_source
from hark.workflows.source import Document

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nsteps: [*c, *c]\n"


def read(text: str | bytes, **options: Any) -> Document:
    (document,) = read_source(text, **options)
    return document


def refused(text: str | bytes, **options: Any) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        read_source(text, file="flow.yaml" if "format" not in options else "flow.json", **options)
    return caught.value.problems[0]


@pytest.mark.parametrize(
    "text, value",
    [
        ("on: yes\nno: off", {"on": "yes", "no": "off"}),
        ("a: 2024-01-31\nb: 12:30:00", {"a": "2024-01-31", "b": "12:30:00"}),
        ("a: ~\nb: null\nc:", {"a": None, "b": None, "c": None}),
        ("a: 0o17\nb: 0x1F\nc: 1_000\nd: +5", {"a": 15, "b": 31, "c": "1_000", "d": 5}),
        ("a: 1.0\nb: 1e3\nc: .5\nd: 1.\ne: 1.2.3", {"a": 1.0, "b": 1000.0, "c": 0.5, "d": 1.0, "e": "1.2.3"}),
        ("a: true\nb: False\nc: tRue", {"a": True, "b": False, "c": "tRue"}),
        ('a: "1"\nb: \'null\'\nc: "\\u00e4\\ud83d\\ude00"', {"a": "1", "b": "null", "c": "ä😀"}),
        ("a: |\n  x\n   y\nb: >\n  x\n  y\n", {"a": "x\n y\n", "b": "x y\n"}),
        ("%YAML 1.1\n---\na: on", {"a": "on"}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: ${{ inputs.x }}", {"a": "${{ inputs.x }}"}),
    ],
)
def test_yaml_means_what_version_1_2_says(text: str, value: Any) -> None:
    assert read(text).value == value


def test_several_documents_and_empty_ones_between() -> None:
    documents = read_source("---\na: 1\n---\n---\nb: 2\n...\n")
    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}]
    assert documents[1].place(("b",), key=True) == Place(5, 1)


def test_a_list_holds_one_document_per_item() -> None:
    documents = read_source('[{"id": "a"},\n {"id": "b"}]')
    assert [document.value["id"] for document in documents] == ["a", "b"]
    assert documents[1].place(("id",)) == Place(2, 9)


def test_json_is_recognised_by_name_and_by_its_beginning() -> None:
    assert read('{"a": "x\\/y"}').value == {"a": "x/y"}
    assert read("{a: 1}").value == {"a": 1}
    assert refused("{a: 1}", format="json").message == 'expected a key in double quotes or "}"'


@pytest.mark.parametrize(
    "text, line, column, message, hint",
    [
        ("a:\n  b: 1\n  b: 2\n", 3, 3, "duplicate key `b`", "it stands on line 2 already"),
        (BOMB, 1, 4, "the anchor &a is not accepted", "write the value out"),
        ("a: 1\nb: *x", 2, 4, "the alias *x is not accepted", "write the value out"),
        ("<<: {a: 1}", 1, 1, "the merge key << is not accepted", "write the value out"),
        ("a: !!python/object:os.system x", 1, 4, "the tag !!python/object:os.system is not accepted", "quotes"),
        ("a:\n\t- b", 2, 1, "a tab where only spaces may stand", "indent with spaces"),
        ("a: b: c", 1, 5, "a colon where no key can stand", "in quotes"),
        ("a: {b: ${{ x }}}", 1, 8, "a template inside { } or [ ] without quotes", '"${{ … }}"'),
        ("a: @x", 1, 4, "a value cannot begin with @", "in quotes"),
        ("a: [1, 2", 1, 9, "the text ends before the closing ]", "close every bracket"),
        ("a: 'x", 1, 6, "the text ends inside a quoted string", "close the quotes"),
        ("a: 1\n404: x", 2, 1, "the key 404 is not a string", 'quotes: "404"'),
        ("a: 1\ntrue: x", 2, 1, "the key true is not a string", 'quotes: "true"'),
        ("? [a]\n: b", 1, 3, "a key must be a string", "key: value"),
        ("a: .nan", 1, 4, ".nan: not a finite number", "finite"),
        ("a: 1e999", 1, 4, "1e999: not a finite number", "finite"),
        ("a: 99999999999999999999", 1, 4, "99999999999999999999: a whole number of more than 64 bits", "quotes"),
        ('a: "\\ud800"', 1, 4, "half of a surrogate pair is no character", "both halves"),
        ('a: "\\0"', 1, 4, "the character U+0000 cannot be stored", "base64"),
        ("a: \x07", 1, 4, "U+0007 may not stand in a text", "escape"),
        (b"a: 1\nb: \xff", 2, 4, "byte 0xff is not valid UTF-8", "UTF-8"),
        ("# nothing\n", 1, 1, "the text is empty", "write a workflow"),
        ("[" * 100, 1, 66, "more than 64 levels or 100,000 values", "divide the workflow"),
        ("x" * (MAX_BYTES + 1), 1, 1, "the text has 1,048,577 bytes, more than the 1,048,576 accepted", "call"),
    ],
)
def test_yaml_is_refused_with_its_place_and_what_would_be_right(
    text: str | bytes, line: int, column: int, message: str, hint: str
) -> None:
    problem = refused(text)
    assert (problem.place, problem.message, problem.file) == (Place(line, column), message, "flow.yaml")
    assert hint in problem.hint


@pytest.mark.parametrize(
    "text, line, column, message",
    [
        ('{"a": 1,\n "a": 2}', 2, 2, "duplicate key `a`"),
        ('{"a": NaN}', 1, 7, "expected a JSON value, found 'NaN'"),
        ('{"a": 1,}', 1, 8, "a comma before the closing bracket"),
        ('{"a": [1,\n2', 2, 2, 'expected "," or "]"'),
        ('{"a" 1}', 1, 6, 'expected ":" after the key "a"'),
        ('{"a": 1} x', 1, 10, "there is more after the end of the JSON value"),
        ('{"a": "\t"}', 1, 8, "Invalid control character"),
        ('{"a": 01}', 1, 8, 'expected "," or "}"'),
        ('{"a": 1e400}', 1, 7, "not a finite number"),
        ('{"a": "\\ud800"}', 1, 7, "half of a surrogate pair is no character"),
        ("[" * 100, 1, 66, "more than 64 levels or 100,000 values"),
        ("", 1, 1, "the text is empty"),
    ],
)
def test_json_is_refused_with_its_place(text: str, line: int, column: int, message: str) -> None:
    problem = refused(text, format="json")
    assert (problem.place, problem.message) == (Place(line, column), message)


def test_ten_megabytes_are_refused_without_being_parsed() -> None:
    text = b"a: &x [1]\n" * 1_000_000
    start = time.process_time()
    problem = refused(text)
    assert "10,000,000 bytes" in problem.message
    assert time.process_time() - start < 0.5


def test_all_duplicates_are_told_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        read_source("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [problem.place for problem in caught.value.problems] == [Place(2, 1), Place(3, 11)]


def test_a_number_with_leading_zeros_is_told() -> None:
    (warning,) = read("zip: 01234").warnings
    assert (warning.message, warning.severity) == ("01234 is read as the number 1234", "warning")


def test_places_of_keys_values_and_characters_inside_of_strings() -> None:
    document = read('a:\n  - if: x == 1\n    text: "hello ${{ y }}"\n    block: |\n      one\n      two ${{ z }}\n')
    assert document.place(("a", 0, "if"), key=True) == Place(2, 5)
    assert document.place(("a", 0, "if"), offset=5) == Place(2, 14)
    assert document.place(("a", 0, "text"), offset=6) == Place(3, 18)
    assert document.place(("a", 0, "block"), offset=8) == Place(6, 11)
    assert document.place(("a", 0, "nothing", "there")) == Place(2, 5)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text("abc"), JSON_VALUES), st.sampled_from([None, 1, 2]), st.booleans())
def test_json_reads_as_the_standard_library_reads_it(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert read(text, format="json").value == json.loads(text)


def test_a_file_of_two_hundred_lines_is_read_in_milliseconds() -> None:
    step = (
        '  - id: s{0}\n    action: log_event\n    with: {{message: "${{{{ x }}}}", data: [1, 2]}}\n    timeout: 60s\n'
    )
    text = "id: a\nname: A\nsteps:\n" + "".join(step.format(number) for number in range(50))
    assert text.count("\n") == 203
    best = min(_seconds(text) for _ in range(5))
    assert best < 0.1


def _seconds(text: str) -> float:
    start = time.process_time()
    read_source(text)
    return time.process_time() - start
