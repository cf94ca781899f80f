"""Reading SQL as people write it: named parameters become `$1`, and what cannot run inside a step is refused.

The scanner knows PostgreSQL's lexical rules (4.1 of its manual) as far as they decide where a `:name` or a `;` is code
and where it is text. It does not parse: what the statement means is for the server to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

_TOKEN = re.compile(
    r"""
      (?P<space>      \s+ | --[^\n]* )
    | (?P<comment>    /\* )
    | (?P<escaped>    [eE]'(?:[^'\\]|\\.|'')*+' )
    | (?P<unclosed>   [eE]' )
    | (?P<string>     (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*+' )
    | (?P<identifier> (?:[uU]&)?"(?:[^"]|"")*+" )
    | (?P<dollar>     \$(?P<tag>[A-Za-z_\u0080-\U0010ffff][\w]*)?\$ )
    | (?P<positional> \$\d+ )
    | (?P<word>       [A-Za-z_\u0080-\U0010ffff][\w$]* )
    | (?P<number>     \d[\w.]* )
    | (?P<pair>       :: | := )
    | (?P<name>       (?<![\w)\]'"]):(?P<parameter>[A-Za-z_]\w*) )
    | (?P<open>       [(\[] )
    | (?P<close>      [)\]] )
    | (?P<end>        ; )
    | (?P<quote>      ['"] )
    | (?P<other>      . )
    """,
    re.VERBOSE | re.DOTALL,
)
# A `:` right after a word, a bracket or a quote is no parameter: array slices `a[i:j]`, `json_object('k':v)`.

_ROW_VERBS = frozenset({"select", "values", "table", "show", "explain", "call"})
_CHANGE_VERBS = frozenset({"insert", "update", "delete", "merge"})
_REFUSED = {
    **dict.fromkeys(
        ("begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"),
        "a step's SQL runs in a transaction of its own that Hark commits: leave {verb} out",
    ),
    **dict.fromkeys(
        ("set", "reset", "discard", "load"),
        "{verb} would change the connection for others: for one statement, use set_config(name, value, true)",
    ),
    **dict.fromkeys(
        ("prepare", "execute", "deallocate", "listen", "unlisten", "declare", "fetch", "move", "close"),
        "{verb} belongs to a session, which a step does not have",
    ),
    "copy": "COPY moves data over the connection itself, which a step cannot: use INSERT or SELECT",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement ready for the server: `text` with `$1` … for `names` in this order."""

    text: str
    names: tuple[str, ...]
    verb: str
    """The first word that says what it does, in lower case; behind WITH, that of the main statement."""
    returns_rows: bool

    @property
    def changes_rows(self) -> bool:
        """Whether it is an INSERT, UPDATE, DELETE or MERGE."""
        return self.verb in _CHANGE_VERBS


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    depth: int


@lru_cache(maxsize=1024)
def parse_statement(sql: str) -> Statement:
    """Read one statement. Raises ValueError: several statements, transaction control, `$1`, an open quote."""
    tokens = _without_end(list(_tokens(sql)))
    verb, returning = _verb(tokens)
    if not verb:
        raise ValueError("there is no statement: write SQL such as SELECT, INSERT, UPDATE or DELETE")
    if verb in _REFUSED:
        raise ValueError(_REFUSED[verb].format(verb=verb.upper()))
    names = tuple(dict.fromkeys(token.text for token in tokens if token.kind == "name"))
    places = {name: f"${number}" for number, name in enumerate(names, 1)}
    text = "".join(places[token.text] if token.kind == "name" else token.text for token in tokens)
    return Statement(text.strip(), names, verb, returning or verb in _ROW_VERBS)


def _tokens(sql: str) -> Iterator[_Token]:
    position, depth = 0, 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        assert match is not None  # noqa: S101  the last alternative takes any character
        kind = str(match.lastgroup if match.lastgroup not in {"tag", "parameter"} else _outer(match))
        end = _end_of(kind, match, sql)
        depth += (kind == "open") - (kind == "close")
        yield _Token(kind, match["parameter"] if kind == "name" else sql[position:end], depth)
        position = end


def _outer(match: re.Match[str]) -> str:
    return "name" if match["parameter"] else "dollar"


def _end_of(kind: str, match: re.Match[str], sql: str) -> int:
    """Return where a token ends; raises ValueError for what is no end or no token of a step's SQL."""
    if kind == "comment":
        return _comment_end(sql, match.start())
    if kind == "dollar":
        end = sql.find(match.group(), match.end())
        if end < 0:
            raise ValueError(f"the text that begins with {match.group()} does not end")
        return end + len(match.group())
    if kind in {"unclosed", "quote"}:
        raise ValueError(f"the quoted text at character {match.start() + 1} does not end")
    if kind == "positional":
        raise ValueError(f"{match.group()}: write parameters by name, such as :email, and give them in `params`")
    return match.end()


def _comment_end(sql: str, start: int) -> int:
    """Find the end of a comment; they nest."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(sql, start):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    raise ValueError("a comment /* does not end")


def _without_end(tokens: list[_Token]) -> list[_Token]:
    """Drop a `;` at the end; raises ValueError when another statement follows."""
    ends = [number for number, token in enumerate(tokens) if token.kind == "end"]
    if not ends:
        return tokens
    if any(token.kind not in {"space", "comment", "end"} for token in tokens[ends[0] :]):
        raise ValueError("there are several statements: write one per step")
    return tokens[: ends[0]]


def _verb(tokens: list[_Token]) -> tuple[str, bool]:
    """Return the statement's verb and whether it has a RETURNING of its own."""
    words = [token.text.lower() for token in tokens if token.kind == "word"]
    outer = [token.text.lower() for token in tokens if token.kind == "word" and token.depth == 0]
    verb = words[0] if words else ""
    if verb == "with":
        verb = next((word for word in outer if word in _ROW_VERBS | _CHANGE_VERBS), "select")
    return verb, verb in _CHANGE_VERBS and "returning" in outer


def check_names(wanted: tuple[str, ...], given: list[str]) -> None:
    """Require that parameters and their values match. Raises ValueError with what would be right."""
    for name in wanted:
        if name not in given:
            raise ValueError(f"`params` has no value for :{name}{_near(name, [g for g in given if g not in wanted])}")
    for name in given:
        if name not in wanted:
            raise ValueError(f"the SQL has no parameter :{name}{_near(name, list(wanted))}")


def _near(name: str, others: list[str]) -> str:
    found = get_close_matches(name, others, n=1)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; there is {', '.join(others)}" if others else ""
