"""Reading SQL: where a colon is a parameter, where a semicolon ends, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import lists, sampled_from, text

from hark.actions.sql_text import check_names, parse_statement


@pytest.mark.parametrize(
    "sql, sent, names",
    [
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT :a::text || :b ::int", "SELECT $1::text || $2 ::int", ("a", "b")),
        ("SELECT a[1:2], a[lo:hi], a[f(x):n], a[:i]", "SELECT a[1:2], a[lo:hi], a[f(x):n], a[$1]", ("i",)),
        ("SELECT f(x := :v, y=>:w)", "SELECT f(x := $1, y=>$2)", ("v", "w")),
        ("SELECT ':a', 'it''s :b', E'\\':c', \"col:d\", U&\":e\"", None, ()),
        ("SELECT N':a', B'01', x'1F', e'\\\\', :b", "SELECT N':a', B'01', x'1F', e'\\\\', $1", ("b",)),
        ("SELECT $$ :a ; $$, $tag$ $$ :b $tag$, :c", "SELECT $$ :a ; $$, $tag$ $$ :b $tag$, $1", ("c",)),
        ("SELECT 1 -- :a ; it's\n, :b", "SELECT 1 -- :a ; it's\n, $1", ("b",)),
        ("/* :a /* nested ; */ ' */ SELECT :b", "/* :a /* nested ; */ ' */ SELECT $1", ("b",)),
        ("SELECT json_object('k':v, 'l' : :w)", "SELECT json_object('k':v, 'l' : $1)", ("w",)),
        ("SELECT a$1, price$ FROM t", None, ()),
        ("SELECT data ? 'a', data @? '$.a', x <@ :b", "SELECT data ? 'a', data @? '$.a', x <@ $1", ("b",)),
        ("SELECT :größe", "SELECT $1", ("größe",)),
        ("SELECT '\\', :a", "SELECT '\\', $1", ("a",)),
        (" SELECT 1 ; -- done\n ; ", "SELECT 1", ()),
        ("SELECT ';' AS \";\" ", "SELECT ';' AS \";\"", ()),
    ],
)
def test_named_parameters_become_numbers_where_they_are_code(
    sql: str, sent: str | None, names: tuple[str, ...]
) -> None:
    statement = parse_statement(sql)
    assert (statement.text, statement.names) == (sent or sql, names)


@pytest.mark.parametrize(
    "sql, verb, returns_rows",
    [
        ("select 1", "select", True),
        ("(SELECT 1) UNION SELECT 2", "select", True),
        ("VALUES (1)", "values", True),
        ("TABLE t", "table", True),
        ("INSERT INTO t VALUES (1)", "insert", False),
        ("INSERT INTO t SELECT 1 RETURNING id", "insert", True),
        ("UPDATE t SET a = 'returning'", "update", False),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", "merge", False),
        ("WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x", "select", True),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", "update", False),
        ("WITH RECURSIVE x AS MATERIALIZED (SELECT 1) DELETE FROM t RETURNING *", "delete", True),
        ("INSERT INTO t SELECT * FROM (DELETE FROM u RETURNING 1) x", "insert", False),
        ("CREATE TABLE t (id int)", "create", False),
        ("/* c */ CALL p()", "call", True),
        ("NOTIFY channel, 'x'", "notify", False),
    ],
)
def test_the_verb_tells_whether_rows_come_back(sql: str, verb: str, returns_rows: bool) -> None:
    statement = parse_statement(sql)
    assert (statement.verb, statement.returns_rows) == (verb, returns_rows)


@pytest.mark.parametrize(
    "sql, said",
    [
        ("SELECT 1; SELECT 2", "several statements"),
        ("SELECT 1; DROP TABLE t --", "several statements"),
        ("COMMIT", "leave COMMIT out"),
        ("/* */ begin", "leave BEGIN out"),
        ("START TRANSACTION", "leave START out"),
        ("end", "leave END out"),
        ("ROLLBACK TO x", "leave ROLLBACK out"),
        ("SAVEPOINT x", "leave SAVEPOINT out"),
        ("SET ROLE postgres", "set_config"),
        ("RESET ALL", "set_config"),
        ("COPY t FROM STDIN", "COPY moves data"),
        ("LISTEN x", "belongs to a session"),
        ("PREPARE TRANSACTION 'x'", "belongs to a session"),
        ("SELECT $1", "write parameters by name"),
        ("SELECT 'open", "quoted text at character 8 does not end"),
        ('SELECT "open', "does not end"),
        ("SELECT E'open\\'", "does not end"),
        ("SELECT $x$ open $y$", "begins with \\$x\\$ does not end"),
        ("SELECT /* open /* */", "comment"),
        ("", "no statement"),
        (" -- nothing\n;", "no statement"),
    ],
)
def test_what_cannot_run_in_a_step_is_refused_with_a_reason(sql: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_statement(sql)


@pytest.mark.parametrize(
    "wanted, given_names, said",
    [
        (("email",), ["emial"], "no value for :email; did you mean emial"),
        (("email",), [], "no value for :email$"),
        ((), ["extra"], "has no parameter :extra$"),
        (("a",), ["a", "b"], "has no parameter :b; there is a"),
    ],
)
def test_parameters_and_their_values_must_match(wanted: tuple[str, ...], given_names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_names(wanted, given_names)


def test_parameters_that_match_pass() -> None:
    check_names(("a", "b"), ["b", "a"])


PIECES = [
    "'",
    "''",
    '"',
    "$$",
    "$t$",
    "--",
    "\n",
    "/*",
    "*/",
    ":a",
    "::",
    ":=",
    "[",
    "]",
    "(",
    ")",
    ";",
    " ",
    "x",
    "E'",
    "\\",
]


@given(lists(sampled_from(PIECES)).map("".join))
def test_whatever_is_written_is_read_or_refused(tail: str) -> None:
    """What is accepted keeps every character, with the parameters replaced."""
    try:
        statement = parse_statement("SELECT " + tail)
    except ValueError:
        return
    back = statement.text.replace("$1", ":a") if statement.names else statement.text
    assert ("SELECT " + tail).startswith(back)


@given(text().map(lambda content: "'" + content.replace("'", "''") + "'"))
def test_a_quoted_text_is_never_code(literal: str) -> None:
    statement = parse_statement(f"SELECT {literal}, :a")
    assert (statement.text, statement.names) == (f"SELECT {literal}, $1", ("a",))
