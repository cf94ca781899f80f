"""Composing an e-mail: headers that cannot be broken out of, text and HTML side by side, attachments."""

from __future__ import annotations

import binascii
import mimetypes
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import blake2b
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from hark.actions.config import ActionConfig, Text
from hark.actions.mail_headers import check_headers, one_line

MOST_ATTACHED_BYTES = 10 * 1024 * 1024
_CONTENT_TYPE = r"^[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*(;\s*charset=[\w-]+)?$"


def _checked_base64(text: str) -> str:
    try:
        b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("this is not base64") from error
    return text


class Attachment(ActionConfig):
    """A file that goes along."""

    filename: Annotated[
        str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/\\]+$"), AfterValidator(one_line)
    ]
    """The name that the reader sees."""
    content: Text | None = None
    """The content as text."""
    content_base64: Annotated[str, AfterValidator(_checked_base64)] | None = None
    """The content as base64, instead of `content`."""
    content_type: Annotated[str, Field(pattern=_CONTENT_TYPE)] | None = None
    """Such as `text/csv`; without it, guessed from the name."""

    @model_validator(mode="after")
    def _has_content(self) -> Attachment:
        if (self.content is None) == (self.content_base64 is None):
            raise ValueError("an attachment has either `content` or `content_base64`")
        if self.media_type()[0].lower() in {"multipart", "message"}:
            raise ValueError("an attachment is one file: its type cannot be multipart or message")
        return self

    def data(self) -> bytes:
        """Return the bytes of the file."""
        return self.content.encode() if self.content is not None else b64decode(self.content_base64 or "")

    def media_type(self) -> tuple[str, str]:
        """Return main type and subtype."""
        guess = mimetypes.guess_type(self.filename)[0] or "application/octet-stream"
        main, _, sub = (self.content_type or guess).partition(";")[0].partition("/")
        return main, sub


@dataclass(frozen=True, slots=True)
class Letter:
    """What a message says and to whom; bcc is no part of it, for it must not appear."""

    sender: Address
    to: Sequence[Address]
    cc: Sequence[Address]
    reply_to: Sequence[Address]
    subject: str
    body: str | None
    html: str | None
    attachments: Sequence[Attachment]


def message_id(key: str, domain: str) -> str:
    """Return the Message-ID that belongs to an idempotency key: the same for every attempt, so that mail is found."""
    return f"<{blake2b(key.encode(), digest_size=16).hexdigest()}@{domain}>"


def compose(letter: Letter, identifier: str, now: datetime) -> EmailMessage:
    """Make the message; its Message-ID is given. Raises ActionError when a header would break out of its line."""
    message = EmailMessage(policy=SMTP)
    message["From"] = letter.sender
    for name, addresses in (("To", letter.to), ("Cc", letter.cc), ("Reply-To", letter.reply_to)):
        if addresses:
            message[name] = tuple(addresses)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = identifier
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: absence notes do not answer it
    _set_content(message, letter)
    for attachment in letter.attachments:
        main, sub = attachment.media_type()
        message.add_attachment(attachment.data(), maintype=main, subtype=sub, filename=attachment.filename)
    check_headers(message)
    return message


def _set_content(message: EmailMessage, letter: Letter) -> None:
    if letter.body is not None:
        message.set_content(letter.body)
        if letter.html is not None:
            message.add_alternative(letter.html, subtype="html")
    else:
        message.set_content(letter.html or "", subtype="html")
