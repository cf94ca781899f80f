"""What a step declares of what goes into it and comes out of it: defaults filled in, then held to it when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hark.daemon.engine.inputs import InputRules, InvalidInputsError
from hark.workflows.errors import ActionError

INPUTS_INVALID = "inputs_invalid"
OUTPUT_INVALID = "output_invalid"


class MisfitError(ActionError):
    """What goes into a step or comes out of it is not what it declares: no other attempt is made, whatever it says.

    Inputs stay as they are, and what has given an output has had its effect.
    """


def checked_inputs(rules: InputRules | None, given: Any) -> Any:
    """Return what `with` gives, with the defaults. Raises MisfitError, class `inputs_invalid`."""
    return given if rules is None else _applied(rules, given, "with", INPUTS_INVALID)


def checked_output(rules: InputRules | None, output: Any) -> Any:
    """Return a step's output with the defaults. Raises MisfitError, class `output_invalid`."""
    return output if rules is None else _applied(rules, output, "output", OUTPUT_INVALID)


def _applied(rules: InputRules, value: Any, root: str, kind: str) -> Any:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        message = (
            f"{root}: it is a {type(value).__name__}; the step declares a mapping with {', '.join(rules.declared)}"
        )
        raise MisfitError(message, error_class=kind, retryable=False, details={"path": root})
    try:
        return rules.apply(value, root)
    except InvalidInputsError as error:
        raise MisfitError(str(error), error_class=kind, retryable=False, details={"path": error.path}) from error
