"""The kinds of work that the suite does: for each its workflow, and what it has to have done to the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LIMIT = 2
"""How many executions of the kind `limited` may be under way at a time."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A workflow that an event of the type of its name, with a number, starts."""

    name: str
    steps: str
    """SQL(x), HTTP(x) and MAIL(x) stand for actions that leave a mark with the number and the step x."""
    sql: Sequence[str] = ()
    """The marks in the database: each once."""
    http: Sequence[str] = ()
    """The requests: each at least once, under one key."""
    at_most_once: Sequence[str] = ()
    """The requests that are made once or not at all."""
    mail: Sequence[str] = ()
    """The letters: each at least once, with one Message-ID."""
    order: Sequence[tuple[str, str]] = ()
    """Marks in the database of which the first comes before the second."""
    fields: str = ""
    calls: Sequence[str] = ()
    """Workflows of which each execution starts exactly one more."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Workflows that it needs besides, by name."""
    parts: int = 0
    """How many parts each execution has."""

    def definition(self, receiver_url: str) -> str:
        """Return the workflow file."""
        trigger = f"triggers: [{{type: event, event: {self.name}}}]"
        own = f"id: {self.name}\nname: {self.name}\n{trigger}\n{self.fields}\nsteps:\n{self.steps}"
        called = [f"id: {name}\nname: {name}\n{steps}" for name, steps in self.others.items()]
        return _written("\n---\n".join((own, *called)), receiver_url)


def _written(text: str, receiver_url: str) -> str:
    """Fill in what the actions are."""
    number = "${{ string(event.data.n) }}"
    sql = (
        "action: update_database, with: {sql: 'BEFORE INSERT INTO public.effects (number, step, execution_id)"
        f" VALUES (:n, :s, :e)', params: {{n: '{number}', s: 'STEP', e: '${{{{ execution.id }}}}'}}}}"
    )
    http = f"action: http_request, with: {{method: POST, url: '{receiver_url}/{number}/STEP'}}, timeout: 60s"
    mail = f"action: send_email, with: {{to: ann@example.org, subject: '{number}/STEP', body: hello}}, timeout: 60s"
    slow = sql.replace("BEFORE", "WITH pause AS MATERIALIZED (SELECT pg_sleep(1.5))")
    slow = slow.replace("VALUES (:n, :s, :e)", "SELECT :n, :s, :e FROM pause")
    for word, action in (("SLOW", slow), ("SQL", sql.replace("BEFORE ", "")), ("HTTP", http), ("MAIL", mail)):
        while (at := text.find(f"{word}(")) >= 0:
            step, _, rest = text[at + len(word) + 1 :].partition(")")
            text = text[:at] + action.replace("STEP", step) + rest
    return text


CHAIN = Kind(
    "chain",
    """  - {id: a, SQL(a)}
  - {id: b, HTTP(b)}
  - {id: c, SQL(c)}
  - {id: told, action: log_event, with: {message: done}}""",
    sql=("a", "c"),
    http=("b",),
    order=[("a", "c")],
)
SLEEP = Kind(
    "sleep",
    "  - {id: a, SQL(a)}\n  - {id: b, SLOW(b)}\n  - {id: c, SQL(c)}",
    sql=("a", "b", "c"),
    order=[("a", "b"), ("b", "c")],
)
PAUSE = Kind(
    "pause",
    "  - {id: a, SQL(a)}\n  - {id: rest, wait: 1500ms}\n  - {id: b, SQL(b)}",
    sql=("a", "b"),
    order=[("a", "b")],
)
LOOP = Kind(
    "loop",
    """  - id: each
    for_each: [0, 1, 2]
    do:
      - {id: turn, SQL(turn-${{ index }})}
      - {id: ask, HTTP(ask-${{ index }})}
  - {id: after, SQL(after)}""",
    sql=("turn-0", "turn-1", "turn-2", "after"),
    http=("ask-0", "ask-1", "ask-2"),
    order=[("turn-0", "turn-1"), ("turn-1", "turn-2"), ("turn-2", "after")],
)
BRANCHES = Kind(
    "branches",
    """  - id: both
    parallel:
      left: [{id: l, SQL(l)}, {id: rest, wait: 100ms}, {id: l2, SQL(l2)}]
      right: [{id: r, HTTP(r)}, {id: r2, SQL(r2)}]
  - {id: join, SQL(join)}
  - {id: last, HTTP(last)}""",
    sql=("l", "l2", "r2", "join"),
    http=("r", "last"),
    order=[("l", "l2"), ("l2", "join"), ("r2", "join")],
)
MAIL = Kind("mail", "  - {id: letter, MAIL(letter)}\n  - {id: after, SQL(after)}", sql=("after",), mail=("letter",))
ONCE = Kind(
    "once",
    "  - {id: order, HTTP(order), effect: at_most_once, continue_on_error: true}\n  - {id: after, SQL(after)}",
    sql=("after",),
    at_most_once=("order",),
)
CALL = Kind(
    "call",
    """  - {id: before, SQL(before)}
  - {id: called, call: called, with: {n: "${{ event.data.n }}"}}
  - {id: after, SQL(after)}""",
    sql=("before", "inside", "after"),
    http=("outside",),
    order=[("before", "inside"), ("inside", "after")],
    calls=("called",),
    others={
        "called": "inputs: {n: {type: integer, required: true}}\nsteps:\n"
        "  - {id: outside, HTTP(outside)}\n  - {id: inside, SQL(inside)}\n"
    },
)
PARTS = Kind(
    "parts",
    """  - id: each
    for_each: [0, 1, 2]
    parallel: 3
    distribute: true
    do: [{id: part, HTTP(part-${{ index }})}, {id: mark, SQL(mark-${{ index }})}]
  - {id: after, SQL(after)}""",
    sql=("mark-0", "mark-1", "mark-2", "after"),
    http=("part-0", "part-1", "part-2"),
    order=[("mark-0", "after"), ("mark-1", "after"), ("mark-2", "after")],
    parts=3,
)
LIMITED = Kind(
    "limited",
    "  - {id: begin, SQL(begin)}\n  - {id: work, HTTP(work)}\n  - {id: end, SQL(end)}",
    sql=("begin", "end"),
    http=("work",),
    order=[("begin", "end")],
    fields=f"concurrency: {{limit: {LIMIT}}}",
)
MEMORY = Kind(
    "memory",
    """  - {id: keep, remember: {word: "word-${{ event.data.n }}"}}
  - {id: ask, HTTP(ask)}
  - {id: after, SQL(${{ context.word }})}""",
    sql=("word-{n}",),
    http=("ask",),
)
NEWS = Kind(
    "news",
    """  - id: both
    parallel:
      hear: [{id: heard, wait_for: {event: NEWS, when: event.data.n == inputs.n, lookback: 5m}}, {id: h, SQL(h)}]
      tell:
        - {id: first, HTTP(first)}
        - {id: told, emit: {type: NEWS, data: {n: "${{ inputs.n }}"}, key: "news-${{ inputs.n }}"}}
  - {id: after, SQL(after)}""",
    sql=("h", "after"),
    http=("first",),
    order=[("h", "after")],
    fields="inputs: {n: {type: integer}}",
)
ASKS = Kind(
    "asks",
    "  - {id: before, SQL(before)}\n  - {id: question, approve: {message: Well?}}\n  - {id: after, SQL(after)}",
    sql=("before", "after"),
    order=[("before", "after")],
)
KINDS = {
    kind.name: kind
    for kind in (CHAIN, SLEEP, PAUSE, LOOP, BRANCHES, MAIL, ONCE, CALL, PARTS, LIMITED, MEMORY, NEWS, ASKS)
}
