"""The shape of definitions: the keys of a model, the model at a place, and the blocks of steps inside a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, Discriminator
from pydantic.fields import FieldInfo

from hark.workflows.source import Path
from hark.workflows.steps import VERBS, verb_of

_BLOCKS = ("then", "else", "do", "default", "try", "catch", "finally", "on_error")


def blocks(step: Mapping[str, Any]) -> Iterator[tuple[Path, list[Any]]]:
    """Yield every block of steps directly inside a raw step, with its path in the step, in the order they may run."""
    for key in _BLOCKS[:-1]:
        if isinstance(step.get(key), list):
            yield (key,), step[key]
    cases = step.get("cases")
    for index, case in enumerate(cases if isinstance(cases, list) else ()):
        if isinstance(case, Mapping) and isinstance(case.get("do"), list):
            yield ("cases", index, "do"), case["do"]
    branches = step.get("parallel")
    for name, branch in branches.items() if isinstance(branches, Mapping) else ():
        if isinstance(branch, list):
            yield ("parallel", name), branch
    if isinstance(step.get("on_error"), list):
        yield ("on_error",), step["on_error"]


@cache
def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by the key that the language writes, in the order they are declared."""
    return {_key(name, info): info for name, info in model.model_fields.items()}


@cache
def spellings(model: type[BaseModel]) -> dict[str, str]:
    """Return every accepted key of a model, and the one that the language writes for it."""
    known: dict[str, str] = {}
    for name, info in model.model_fields.items():
        key = _key(name, info)
        choices = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else ()
        for spelling in (key, name, *(choice for choice in choices if isinstance(choice, str))):
            known.setdefault(spelling, key)
    return known


def _key(name: str, info: FieldInfo) -> str:
    if info.alias is not None:
        return info.alias
    return info.validation_alias if isinstance(info.validation_alias, str) else name


def inner(annotation: Any, value: Any) -> Any:
    """Strip an annotation down to the class, list or mapping type that `value` is meant for."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            if any(_tells_verbs(extra) for extra in get_args(annotation)[1:]):
                return VERBS.get(verb_of(value) or "")
            annotation = get_args(annotation)[0]
        elif origin in {Union, UnionType}:
            annotation = _member(get_args(annotation), value)
        else:
            return annotation


def _tells_verbs(extra: Any) -> bool:
    return isinstance(extra, Discriminator) and extra.discriminator is verb_of


def is_choice(annotation: Any) -> bool:
    """Tell whether errors below this annotation name the chosen member of a union (None does not count)."""
    while get_origin(annotation) is Annotated:
        if any(isinstance(extra, Discriminator) for extra in get_args(annotation)[1:]):
            return True
        annotation = get_args(annotation)[0]
    return get_origin(annotation) in {Union, UnionType} and len(members(annotation)) > 1


def members(annotation: Any) -> list[Any]:
    """Return the members of a union, unions inside it taken apart, without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    found: list[Any] = []
    for member in get_args(annotation):
        found.extend(members(member) if get_origin(member) in {Union, UnionType} else [member])
    return [member for member in found if member is not type(None)]


def _member(members: tuple[Any, ...], value: Any) -> Any:
    """Choose the member of a union that a value of this JSON type is meant for."""
    wanted = [member for member in members if member is not type(None)]
    for member in wanted:
        bare = inner(member, value)
        model = isinstance(bare, type) and issubclass(bare, BaseModel)
        if isinstance(value, Mapping) and (model or get_origin(bare) is dict):
            return member
        if isinstance(value, list) and get_origin(bare) is list:
            return member
    return wanted[0] if wanted else Any
