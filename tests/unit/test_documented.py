"""What stands below a field describes it."""

from __future__ import annotations

from hark.daemon.api.requests import NewEventBody
from hark.workflows.documented import Documented
from hark.workflows.steps import Retry


class Child(Retry):
    """Not of Hark, but with fields of Hark's."""

    field: int = 0
    """Its source is not read."""


def test_fields_are_described_by_what_stands_below_them() -> None:
    properties = Retry.model_json_schema()["properties"]
    assert properties["retries"]["description"] == "Attempts after the first."
    assert NewEventBody.model_fields["subject"].description == "`{kind, id}`, or `kind/id`."


def test_fields_that_are_inherited_are_described_and_the_source_of_others_is_not_looked_for() -> None:
    properties = Child.model_json_schema()["properties"]
    assert properties["retries"]["description"] == "Attempts after the first."
    assert "description" not in properties["field"]
    assert issubclass(Child, Documented)
