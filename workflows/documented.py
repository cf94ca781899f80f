"""Models whose fields are described by the docstrings that stand below them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of the attributes of all classes of a module; none where there is no source."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not module.startswith("hark.") or not file.endswith(".py"):
        return {}
    return dict(_of_classes(ast.parse(Path(file).read_bytes()).body, ""))


def _of_classes(body: list[ast.stmt], outer: str) -> Iterator[tuple[str, dict[str, str]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield outer + node.name, dict(_of_attributes(node.body))
            yield from _of_classes(node.body, f"{outer}{node.name}.")


def _of_attributes(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node, below in pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield node.target.id, inspect.cleandoc(below.value.value)


class Documented(BaseModel):
    """Base of models whose JSON Schema says what the docstrings of their fields say.

    pydantic's `use_attribute_docstrings` does the same, and looks for the source of each class anew: half of all the
    time that it takes to import the daemon. Here each file is read once.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /) -> CoreSchema:
        for base in cls.__mro__:
            for name, text in _docstrings(base.__module__).get(base.__qualname__, {}).items():
                field = cls.__pydantic_fields__.get(name)
                if field is not None and field.description is None:
                    field.description = text
        return handler(source)
