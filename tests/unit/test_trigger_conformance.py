"""What every trigger kind keeps to, those of plug-ins too."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError
from support.triggers import WORKFLOW, Clock, Events, Line, NoRemotes, Schedules, active, context

from hark.triggers.builtin import builtin_triggers
from hark.triggers.row_port import Drained, Installed, Picture
from hark.workflows.catalogue import Catalogue, Listener, NewEvent, TriggerKind
from hark.workflows.definition import Trigger
from hark.workflows.ids import DEFAULT_TENANT, WorkflowId

KINDS = builtin_triggers()
GENERIC = {"id", "type", "as", "when", "subject", "inputs", "enabled"}
pytestmark = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.kind)


class Outbox:
    """A RowPort that has nothing to tell."""

    can_wake = True

    async def look(self, tables: Any) -> Picture:
        return Picture(1, {})

    async def install(self, plans: Any, generation: int, *, patience_s: float, part: Any = None) -> Installed:
        return Installed()

    async def drain(self, events_of: Any) -> Drained:
        return Drained(0, more=False)

    async def want_wakeups(self, *, wanted: bool) -> int | None:
        return None

    async def is_past(self, horizon: int) -> bool:
        return True

    async def close(self) -> None:
        return None


def config_of(kind: TriggerKind[Any]) -> Any:
    """Build the config of the kind's own example."""
    return kind.spec.config(**{name: value for name, value in kind.spec.example.items() if name not in GENERIC})


def listener_of(kind: TriggerKind[Any]) -> Listener:
    """Make the kind's listener, or pass the test by."""
    ports = {"schedules": Schedules(), "notify": Line(), "row": Outbox(), "remotes": NoRemotes()}
    listener = kind.listener(context(Events(), Clock("2026-01-01"), **ports))
    if listener is None:
        pytest.skip("its events come through the API")
    return listener


def test_it_says_what_it_is(kind: TriggerKind[Any]) -> None:
    spec = kind.spec
    assert spec.kind == spec.kind.lower()
    assert spec.name
    assert spec.description.endswith((".", "…"))
    assert issubclass(spec.config, BaseModel)
    assert type(kind).__doc__
    assert Catalogue([], KINDS).trigger(spec.kind.upper()) is kind
    for name in spec.other_names:
        assert Catalogue([], KINDS).trigger(name) is kind


def test_every_field_of_its_config_is_described(kind: TriggerKind[Any]) -> None:
    schema = kind.spec.document()["config_schema"]
    assert schema["additionalProperties"] is False
    undescribed = [name for name, field in schema.get("properties", {}).items() if "description" not in field]
    assert undescribed == []
    assert not GENERIC & schema.get("properties", {}).keys()


def test_its_example_is_right(kind: TriggerKind[Any]) -> None:
    example = Trigger.model_validate({"id": "example", **kind.spec.example})
    assert example.type == kind.spec.kind
    assert kind.spec.config.model_validate(example.config) == config_of(kind)


def test_an_unknown_field_is_refused(kind: TriggerKind[Any]) -> None:
    with pytest.raises(ValidationError):
        kind.spec.config(**dict(config_of(kind)), no_such_field=1)


def test_its_config_survives_json(kind: TriggerKind[Any]) -> None:
    config = config_of(kind)
    assert kind.spec.config.model_validate_json(config.model_dump_json(by_alias=True, exclude_unset=True)) == config


def test_its_route_is_its_own_and_stays(kind: TriggerKind[Any]) -> None:
    route = kind.route(config_of(kind), WORKFLOW, "example")
    assert route == kind.route(config_of(kind), WorkflowId(UUID(str(WORKFLOW))), "example")
    assert route.startswith(f"{kind.spec.kind}:")


def test_names_that_expressions_see_come_from_the_data(kind: TriggerKind[Any]) -> None:
    data = dict.fromkeys(kind.spec.data_fields)
    assert kind.scope(data).keys() <= kind.spec.roots


async def test_its_listener_starts_and_stops_any_number_of_times(kind: TriggerKind[Any]) -> None:
    listener = listener_of(kind)
    await listener.stop()
    assert not listener.health().attached or kind.spec.kind == "row"
    tasks = len(asyncio.all_tasks())
    for _ in range(2):
        await listener.start()
        await listener.start()
        await listener.attach([active(kind.spec.kind, config_of(kind))])
        await listener.stop()
        await listener.stop()
    assert len(asyncio.all_tasks()) == tasks


async def test_its_listener_hears_what_is_attached_and_says_so(kind: TriggerKind[Any]) -> None:
    listener = listener_of(kind)
    await listener.attach([active(kind.spec.kind, config_of(kind))])
    await listener.start()
    await listener.attach([])
    async with asyncio.timeout(5):
        while not listener.health().attached:
            await asyncio.sleep(0.001)
    await listener.stop()


def test_an_event_of_another_kind_of_data_breaks_nothing(kind: TriggerKind[Any]) -> None:
    """`refusal` is asked on the hot path: it answers, and does not raise."""
    data: dict[str, Any] = dict.fromkeys(kind.spec.data_fields)
    event = NewEvent(DEFAULT_TENANT, kind.spec.kind, "t", "s", kind.route(config_of(kind), WORKFLOW, "example"), data)
    assert isinstance(kind.refusal(config_of(kind), event), str | None)
