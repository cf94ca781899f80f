"""Matching by index: whom it leaves out would have refused, whatever the conditions and the events are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hark.daemon.engine import matcher as matching
from hark.daemon.engine.inputs import InputRules
from hark.daemon.engine.matcher import Match, Matcher
from hark.daemon.engine.registry import ActiveWorkflow, Subscription, _requirements
from hark.daemon.engine.route_index import RouteIndex
from hark.triggers.event import EventConfig, EventTrigger
from hark.triggers.row import RowTrigger
from hark.triggers.row_config import RowConfig
from hark.workflows import requirements as reading
from hark.workflows.catalogue import ActiveTrigger, NewEvent, TriggerKind
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS, compile_expression
from hark.workflows.ids import DEFAULT_TENANT, EventId, WorkflowId
from hark.workflows.requirements import Requirement, requirements
from hark.workflows.skimming import skim

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT, ROW = EventTrigger(), RowTrigger()

VALUES = [None, True, False, 0, 1, 1.0, -1, 1.5, 2**53, float(2**53), 2**53 + 1, "", "1", "true", "ü", "e\u0301", "é"]
LITERALS = ["null", "true", "false", "0", "1", "1.0", "1u", "-1", "1.5", "9007199254740992", "9007199254740993.0"]
LITERALS += ["9007199254740993", '""', '"1"', '"true"', '"ü"', '"é"', 'b"1"']
PATHS = ["event.data.a", "event.data.b", 'event.data["a"]', "event.data.c.d", "event.data.l[0]", "event.type"]

literals, paths = st.sampled_from(LITERALS), st.sampled_from(PATHS)
terms = st.one_of(
    st.builds("{} == {}".format, paths, literals),
    st.builds("{1} == {0}".format, paths, literals),
    st.builds(lambda path, some: f"{path} in [{', '.join(some)}]", paths, st.lists(literals, max_size=3)),
    st.builds("({0} == {1} || {0} == {2})".format, paths, literals, literals),
    st.builds("({0} == {1} || {2} == {3})".format, paths, literals, paths, literals),
    st.builds("{} != {}".format, paths, literals),
    st.builds("{} < {}".format, paths, literals),
    st.builds("!{}".format, paths),
    st.builds("has({}) && true".format, st.just("event.data.a")),
    st.sampled_from([*PATHS, "event.data.?a == optional.of(1)", "event.data.l.exists(a, a == 1)", "size(1) == 1"]),
)
conditions = st.lists(terms, min_size=1, max_size=3).map(" && ".join)
nested = st.dictionaries(st.sampled_from("dx"), st.sampled_from(VALUES), max_size=2)
anything = st.one_of(st.sampled_from(VALUES), nested, st.lists(st.sampled_from(VALUES), max_size=2))
data = st.dictionaries(st.sampled_from("abcl"), anything, max_size=4)


def subscription(
    kind: TriggerKind[Any], config: Any, when: str | None, conditions: tuple[str, ...], publishes: str | None
) -> Subscription:
    workflow = ActiveWorkflow(
        DEFAULT_TENANT, WorkflowId(uuid4()), "w", 1, conditions, InputRules({}), priority=0, timeout=None, limits=None
    )
    active = ActiveTrigger(
        tenant_id=DEFAULT_TENANT, workflow_id=workflow.id, workflow="w", version=1, id="t", kind=kind.spec.kind,
        config=config, when=when, published_at=NOW, active_since=NOW,
    )  # fmt: skip
    required = _requirements(workflow, kind, active, publishes=publishes is not None)
    return Subscription(workflow, active, kind, ("r",), when, None, None, publishes, tuple(required))


class OneRoute:
    """A registry with one route."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self.route = RouteIndex()
        for one in subscriptions:
            self.route.add(one)

    def find(self, _tenant: UUID, route: str) -> RouteIndex | None:
        return self.route if route == "r" else None


def matched(registry: Any, event: NewEvent, monkeypatch: pytest.MonkeyPatch, *, exhaustive: bool) -> Match:
    monkeypatch.setattr(matching, "MOST_REFUSALS", 10_000 if exhaustive else 0)
    return Matcher(registry, handed={"config": {}}).match(event, EventId(UUID(int=7)), NOW)


def started(match: Match) -> tuple[list[UUID], list[str]]:
    return [start.workflow.id for start in match.starts], [part.event.type for part in match.derived]


def event_of(data: Any) -> NewEvent:
    return NewEvent(DEFAULT_TENANT, "event", "E", "test", "r", data)


offers = st.tuples(st.none() | conditions, st.lists(conditions, max_size=1).map(tuple), st.none() | st.just("OTHER"))


@given(st.lists(offers, min_size=1, max_size=12), st.lists(data, min_size=1, max_size=6), st.data())
def test_the_index_starts_what_asking_everybody_starts(
    offers: list[tuple[Any, ...]], events: list[Any], choice: st.DataObject
) -> None:
    subscriptions = [subscription(EVENT, EventConfig(event="E"), *offer) for offer in offers]
    registry = OneRoute(subscriptions)
    gone = choice.draw(st.lists(st.sampled_from(subscriptions), unique_by=id, max_size=3))
    for one in gone:
        registry.route.remove(one)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for event in map(event_of, events):
            by_index = matched(registry, event, monkeypatch, exhaustive=False)
            by_all = matched(registry, event, monkeypatch, exhaustive=True)
            assert started(by_index) == started(by_all)
            told = [one.passed_over + len(one.refusals) for one in (by_index, by_all)]
            assert told[0] == told[1], "each trigger is started, refused or counted"


columns = st.sampled_from("ab")
wanted = st.dictionaries(columns, anything, min_size=1, max_size=2)
rows = st.none() | st.dictionaries(columns, anything, max_size=2)


row_configs = st.builds(
    lambda operations, before, after: {
        "table": "t",
        "operations": operations,
        **({"from": before} if before and set(operations) & {"update", "delete"} else {}),
        **({"to": after} if after and set(operations) & {"insert", "update"} else {}),
    },
    st.sampled_from([["insert"], ["update"], ["insert", "update", "delete"], ["delete", "truncate"]]),
    st.none() | wanted,
    st.none() | wanted,
)


@given(st.lists(row_configs), st.sampled_from(["insert", "update", "delete", "truncate"]), rows, rows)
def test_the_index_starts_what_row_triggers_let_through(
    configs: list[dict[str, Any]], operation: str, old: Any, new: Any
) -> None:
    subscriptions = [subscription(ROW, RowConfig.model_validate(config), None, (), None) for config in configs]
    if operation == "truncate":  # it tells of no row
        old = new = None
    event = event_of({"operation": operation, "old": old, "new": new, "changed": ["a", "b"]})
    with pytest.MonkeyPatch.context() as monkeypatch:
        registry = OneRoute(subscriptions)
        by_index = matched(registry, event, monkeypatch, exhaustive=False)
        assert started(by_index) == started(matched(registry, event, monkeypatch, exhaustive=True))


ODD = (
    'event.a == "x" && ', 'event.a == "x"&&new.b<3 ', "event == 1", "event.a == 00", "event.a == 1.e", "event.a == 1 1",
    "event.a ? event.b == 1 : event.c == 1", "event.a == 1 && event.b ? true : false", "event.a == 1 ? true : false",
    'event.a == "x" // "', '"x" == event.a // && event.b == 1', "event.a // 1\n == 1", "event.a == r'x'",
    "event.a == 1e3", 'event.a == """x""" && event.b == 1', "event.a == 'x\\'' && event.b == '\\'y'",
    "event.a == '''x'y'''", "!!event.a", 'event.a == "x" "y"', "event.a==-1&&-1==event.b", "event.a == - 1",
    "event.a == --1", "event.a in [1,]", "event.a in []", "(event.a) == 1", "((event.a == 1)) && (event.b)",
    "event.a == (1)", "(event.a == 1) && (event.b == 2 || event.b == 3)", "(event.a == 1) || (event.b == 2)",
    "(event.a == 1 && event.b == 2) || event.a == 1", "!(event.a)", "!(event.a == 1)", "event . a == 1",
    "event.a.exists(new, new.b == 1) && event.c == 1", "event.a [0] == 1", "event[0].a == 1", "event.?a == 1",
    "[event.a == 1][0] && event.b", "{'a': event.a == 1}.a && event.b", "event.a == 1 == true", "1 == 1",
    "event.a == event.b", "event.a in [1] && event.b in ['x', \"y\"]", "event.a in [1, 1u]", "event.a == 'é'",
    "event.a == 1.0 && event.b == -0.5", "new.new == old.old", "cel.bind(event, 1, event == 1) && new.a == 1",
    "event.a == true && event.b != false && null == event.c", "event.a == 9223372036854775807",
)  # fmt: skip


@given(conditions | st.sampled_from(ODD) | st.lists(st.sampled_from(ODD), max_size=3).map(" && ".join))
@settings(max_examples=400)
def test_what_is_skimmed_means_the_same_as_what_the_library_reads(source: str) -> None:
    _compare(source)


TOKENS = ["event", "new", "old", ".a", "==", "in", "[", "]", "(", ")", "&&", "||", "!", "?", ":", "1", "-", "true"]
TOKENS += ["'x'", '"x"', "//", "\\", ",", "r", "b", "event.a"]


@given(st.lists(st.sampled_from(TOKENS), max_size=14))
@settings(max_examples=400)
def test_no_heap_of_tokens_is_skimmed_wrongly(tokens: list[str]) -> None:
    _compare("".join(tokens))


def _compare(source: str) -> None:
    """Everything that was skimmed is read by the library, in its order; for what it refuses nothing is claimed."""
    skimmed = [Requirement.of(one.path, one.values) for one in skim(source).equalities]
    try:
        node = compile_expression(source, ROOTS).node
    except ExpressionError:
        return  # it never holds
    read = iter([one for part in reading.conjuncts(node) if (one := reading._requirement(part))])
    assert all(one in read for one in skimmed)


def test_ordinary_conditions_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "check", lambda *_: pytest.fail("it was read by the library"))
    for source in (
        'event.data.customer in ["c1", "d1"] && event.data.tags.exists(t, t == "paid")',
        '(event.data.kind == "a" || event.data.kind == "b") && size(event.data.items) > 3',
        'event.data.total > 100.0 && !event.data.test && has(event.data.x) && event.data["y"].z != null',
        "event.data.total > 100",
    ):
        assert bool(requirements(source)) == (
            "==" in source.split(".exists")[0] or "in [" in source or "!event" in source
        )


def test_requirements_are_what_must_hold() -> None:
    source = 'new.a == "x" && 2 == event.data.n && (old.b == null && new.c != 1) && (new.d == 1 || new.e == 2)'
    source += " && new.f in [true, 1.0] && event.data.g && !new.h && (new.i == 1 || new.i in [2, 3])"
    assert requirements(source) == (
        Requirement.of(("new", "a"), ["x"]),
        Requirement.of(("event", "data", "n"), [2]),
        Requirement.of(("old", "b"), [None]),
        Requirement.of(("new", "f"), [True, 1]),
        Requirement.of(("event", "data", "g"), [True]),
        Requirement.of(("new", "h"), [False]),
        Requirement.of(("new", "i"), [1, 2, 3]),
    )
    for nothing in ('new.a == "x" || new.b == 1', "new.?a == optional.of(1)", "new.l.exists(new, new.x == 1)", "= 1"):
        assert requirements(nothing) == ()


def names_of(data: Mapping[str, Any]) -> Any:
    return lambda _kind: {"event": {"data": data}}


def test_the_most_telling_of_several_equalities_is_used() -> None:
    """All have one kind of event, each its own customer: filed by the kind, each event would be offered to all."""
    config = EventConfig(event="E")
    whens = [f'event.data.kind == "sale" && event.data.customer == "c{n}"' for n in range(500)]
    registry = OneRoute(subscription(EVENT, config, when, (), None) for when in whens)
    found = registry.route.candidates(names_of({"kind": "sale", "customer": "c123"}))
    assert [one.when for one in found][-1] == whens[123]
    assert len(found) <= 2, "the first had nothing to compare its two equalities with"


def test_what_is_taken_out_leaves_nothing_behind() -> None:
    config = EventConfig(event="E")
    some = [subscription(EVENT, config, f"event.data.n in [{n}, {n + 1}]", (), None) for n in range(20)]
    some.append(subscription(EVENT, config, "event.data.n > 1", (), None))
    some += [subscription(EVENT, config, "event.data.n in []", (), None) for _ in range(2)]
    registry = OneRoute(some)
    for one in some:
        registry.route.remove(one)
    assert len(registry.route) == 0
    assert not registry.route._columns
    assert not registry.route._rest
