"""The structure of a definition: pydantic's errors, taken to their places and told in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from hark.workflows.shape import inner, is_choice, keys, members
from hark.workflows.source import Path
from hark.workflows.templates import has_expression
from hark.workflows.validation.findings import Finding, Findings
from hark.workflows.validation.wording import Fault, word

ModelT = TypeVar("ModelT", bound=BaseModel)


def check_structure(
    model: type[ModelT], value: Any, findings: Findings, *, at: Path = (), open: bool = False
) -> ModelT | None:
    """Build a model from a raw value; None when it has faults, which are then found at `at` and below.

    With `open`, a value that is a template is right wherever it stands: what it gives is known only later.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        if open:
            details = [detail for detail in details if not _is_open(detail["input"])]
        for finding in _findings(model, value, details):
            findings.add(Finding((*at, *finding.path), finding.message, finding.hint, finding.key))
        return None


def _is_open(value: Any) -> bool:
    return isinstance(value, str) and has_expression(value)


@dataclass(frozen=True, slots=True)
class _Located:
    path: Path
    fault: Fault
    chosen: bool
    """It is the error of one member of a union; another member may have been meant."""


def _findings(model: type[BaseModel], root: Any, details: Sequence[ErrorDetails]) -> Iterable[Finding]:
    located = [_locate(model, root, detail) for detail in details]
    by_path: dict[Path, list[_Located]] = {}
    for each in located:
        by_path.setdefault(each.path, []).append(each)
    for path, group in by_path.items():
        deeper = any(other.chosen and _below(other.path, path) for other in located)
        if deeper and all(each.chosen for each in group):
            continue
        yield word(path, [each.fault for each in group])


def _below(path: Path, above: Path) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


def _locate(model: type[BaseModel], root: Any, detail: ErrorDetails) -> _Located:
    """Find the path of an error, leaving out the parts that only name members of unions."""
    path: list[str | int] = []
    annotation: Any = model
    value, holder, chosen, key = root, None, False, False
    for part in detail["loc"]:
        if is_choice(annotation):
            annotation = _chosen(annotation, value, str(part))
            chosen = True
            continue
        if part == "[key]":
            key = True
            continue
        bare = _bare(annotation, value)
        path.append(part)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            holder = bare
            info = keys(bare).get(str(part))
            annotation = info.annotation if info else Any
        else:
            arguments = get_args(bare)
            annotation = arguments[-1] if arguments else Any
        value = _child(value, part)
    if key:
        value = path[-1]
    last = _bare(annotation, value)
    if holder is None and isinstance(last, type) and issubclass(last, BaseModel):
        holder = last
    return _Located(tuple(path), Fault(detail, value, holder, annotation, is_key=key), chosen)


def _bare(annotation: Any, value: Any) -> Any:
    bare = inner(annotation, value)
    if isinstance(bare, type) and issubclass(bare, RootModel):
        return inner(bare.model_fields["root"].annotation, value)
    return bare


def _chosen(annotation: Any, value: Any, tag: str) -> Any:
    """Return the member of a union that a part of pydantic's location names, else the one the value looks like."""
    for member in members(annotation):
        bare = inner(member, value)
        if isinstance(bare, type) and issubclass(bare, BaseModel) and (bare.__name__ == tag or _tagged(bare, tag)):
            return bare
    return inner(annotation, value)


def _tagged(model: type[BaseModel], tag: str) -> bool:
    return any(tag in get_args(info.annotation) for info in model.model_fields.values())


def _child(value: Any, part: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None
