"""The event and manual kinds: names, and the events that callers publish."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.triggers import WORKFLOW, active

from hark.triggers.event import EventConfig, EventTrigger, published
from hark.triggers.manual import ManualConfig, ManualTrigger
from hark.workflows.ids import DEFAULT_TENANT


@pytest.mark.parametrize("name", ["CLIENT_CREATED", "order.paid", "com.example/order:v1", "a-b"])
def test_a_published_event_takes_the_route_of_its_subscribers(name: str) -> None:
    event = published(DEFAULT_TENANT, f" {name} ", {"n": 1}, source="api", dedupe_key="k", subject=("client", "7"))
    assert event.route == EventTrigger().route(EventConfig(event=name), WORKFLOW, "t")
    assert (event.kind, event.type, event.data, event.subject) == ("event", name, {"n": 1}, ("client", "7"))


@pytest.mark.parametrize(
    "name, says",
    [("", "such as CLIENT_CREATED"), ("a b", "such as"), ("ORDER_*", "without"), ("x" * 201, "200 letters")],
)
def test_a_bad_event_type_is_refused(name: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        EventConfig(event=name)
    with pytest.raises(ValueError, match=says):
        published(DEFAULT_TENANT, name, {}, source="api")


def test_a_manual_start_concerns_one_workflow() -> None:
    trigger = active("manual", ManualConfig())
    assert ManualTrigger().route(trigger.config, WORKFLOW, trigger.id) == f"manual:{WORKFLOW}"
    with pytest.raises(ValidationError):
        ManualConfig(anything=1)
