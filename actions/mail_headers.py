"""What may stand in a mail's header, so that no input adds a header, a recipient or a body."""

from __future__ import annotations

import re
from email.message import Message
from email.policy import SMTP, SMTPUTF8

from hark.workflows.errors import ActionError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[bBqQ]\?")
_FOLDED = re.compile(rb"[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n")


def one_line(text: str) -> str:
    """Refuse what would begin another header, as it stands or once decoded. Raises ValueError."""
    if _CONTROL.search(text) or text.splitlines() not in ([], [text]):
        raise ValueError("no line breaks or control characters can stand here")
    # The standard library decodes these, and writes what comes out, line breaks included, as it is.
    if _ENCODED_WORD.search(text):
        raise ValueError("no encoded words (=?utf-8?q?...?=) can stand here: write the text itself")
    return text


def check_headers(message: Message) -> None:
    """Refuse a message of which any header, as it is written, is more than its own lines. Raises ActionError."""
    for part in message.walk():
        for name, value in part.raw_items():
            if not all(_FOLDED.fullmatch(policy.fold_binary(name, value)) for policy in (SMTP, SMTPUTF8)):
                raise ActionError(
                    f"the header {name} would break out of its line", error_class="email_invalid", retryable=False
                )
