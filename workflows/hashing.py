"""The content hash: two definitions that mean the same have the same one."""

from __future__ import annotations

from hashlib import sha256

import orjson

from hark.workflows.definition import Workflow
from hark.workflows.plain import to_canonical


def content_hash(workflow: Workflow) -> str:
    """Return the SHA-256, in hex, of the definition's canonical JSON: keys sorted, defaults left out.

    The form, the format, comments, the order of keys and the spelling of durations make no difference.
    """
    return sha256(orjson.dumps(to_canonical(workflow), option=orjson.OPT_SORT_KEYS)).hexdigest()
