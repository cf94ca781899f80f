"""Writing definitions: YAML and JSON that read back as exactly what was written."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from hark.workflows.definition import Workflow
from hark.workflows.plain import to_plain

_ONE_LINE = 76
"""A list of scalars no longer than this stands on one line."""
_OTHERWISE = re.compile(r"y|Y|n|N|(?i:yes|no|on|off)|[-+]?[\d_,.:]+|0[bB][01_]+|=|<<|\d{4}-\d\d?-\d\d?.*")
"""Plain words that readers of YAML 1.1 would take for something else than a string."""
_INDICATORS = tuple("-?:,[]{}#&*!|>'\"%@`= ")
"""What a plain string does not begin with, whether or not the emitter would let it."""
_UNSAFE = re.compile(r"[^\n -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What may not stand unescaped in every YAML reader: control characters, odd line breaks, byte order marks."""


def to_json(workflow: Workflow) -> str:
    """Write a definition as JSON."""
    return json.dumps(to_plain(workflow), ensure_ascii=False, indent=2) + "\n"


def to_yaml(workflow: Workflow) -> str:
    """Write a definition as YAML 1.2, which readers of YAML 1.1 read alike."""
    return dump_yaml(to_plain(workflow))


def dump_yaml(value: Any) -> str:
    """Write any JSON-typed value as YAML."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.width = 2**20
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Keeps the order of keys, writes texts of several lines as blocks and short lists on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str, *, key: bool = False) -> ScalarNode:
        style = None
        if _UNSAFE.search(data) or _OTHERWISE.fullmatch(data):
            style = '"'
        elif "\n" in data:
            style = '"' if key or not _fits_block(data) else "|"
        elif data.startswith(_INDICATORS) or data.endswith(" "):
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def mapping(self, data: dict[str, Any]) -> MappingNode:
        pairs = [(self.text(key, key=True), self.represent_data(value)) for key, value in data.items()]
        return MappingNode("tag:yaml.org,2002:map", pairs, flow_style=not pairs)

    def sequence(self, data: list[Any]) -> SequenceNode:
        items: list[Node] = [self.represent_data(value) for value in data]
        plain = all(isinstance(item, ScalarNode) and "\n" not in item.value for item in items)
        short = plain and sum(len(item.value) + 4 for item in items) <= _ONE_LINE
        return SequenceNode("tag:yaml.org,2002:seq", items, flow_style=short)


_Representer.add_representer(str, _Representer.text)
_Representer.add_representer(dict, _Representer.mapping)
_Representer.add_representer(list, _Representer.sequence)


def _fits_block(text: str) -> bool:
    """Tell whether a text of several lines reads back from a block as it is."""
    lines = text.split("\n")
    return not (text[0] in " \n" or any(line.endswith(" ") or line.isspace() for line in lines) or "\t" in text)
