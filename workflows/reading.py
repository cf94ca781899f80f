"""Reading source texts, YAML or JSON, into documents that know where everything stands."""

from __future__ import annotations

import re
from typing import Literal

from hark.workflows.errors import DefinitionError, Place, Problem
from hark.workflows.json_source import read_json
from hark.workflows.source import Document, Text
from hark.workflows.yaml_source import read_yaml

Format = Literal["yaml", "json"]

MAX_BYTES = 1_048_576
"""A source text of more bytes than this is refused before it is looked at."""

_LIKE_JSON = re.compile(r'\s*(?:\{\s*["}]|\[\s*[\]{])')


def read_source(
    text: str | bytes,
    *,
    file: str = "",
    format: Format | None = None,
    max_bytes: int = MAX_BYTES,
) -> list[Document]:
    """Read all documents of a text: several of YAML are divided by `---`, and a list holds one document per item.

    Without a `format`, the file's suffix tells it, and else whether the text begins as JSON does.
    Raises DefinitionError with a place for everything that is wrong.
    """
    source = Text(_decode(text, file, max_bytes), file)
    documents = read_json(source) if _is_json(source, format) else read_yaml(source)
    return [part for document in documents for part in _parts(document)]


def _is_json(source: Text, format: Format | None) -> bool:
    if format is not None:
        return format == "json"
    suffix = source.file.lower().rpartition(".")[2]
    if suffix in {"json", "yaml", "yml"}:
        return suffix == "json"
    return _LIKE_JSON.match(source.text) is not None


def _parts(document: Document) -> list[Document]:
    if not isinstance(document.value, list):
        return [document]
    return [
        Document(value, document.text, document.spans, (*document.root, index), document.warnings if index == 0 else ())
        for index, value in enumerate(document.value)
    ]


def _decode(text: str | bytes, file: str, max_bytes: int) -> str:
    """Return the text as a str without byte order mark; a str is measured in UTF-8."""
    size = len(text) if isinstance(text, bytes) or len(text) > max_bytes else len(text.encode(errors="replace"))
    if size > max_bytes:
        raise DefinitionError([_oversize(size, max_bytes, file)])
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode(errors="replace")
        problem = Text(before, file).problem(
            f"byte 0x{text[error.start]:02x} is not valid UTF-8", len(before), "save the file as UTF-8"
        )
        raise DefinitionError([problem]) from error


def _oversize(size: int, limit: int, file: str) -> Problem:
    hint = "keep data out of the definition: read it in a step, or divide the workflow and use `call`"
    return Problem(f"the text has {size:,} bytes, more than the {limit:,} accepted", (), hint, Place(1, 1), file)
