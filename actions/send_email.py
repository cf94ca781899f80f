"""The action `send_email`: hand a message to the configured SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Any, ClassVar

import aiosmtplib
from pydantic import AfterValidator, Field, field_validator, model_validator

from hark.actions.config import ActionConfig, Text
from hark.actions.mail_addresses import MOST_ADDRESSES, Addresses, parse_addresses, unique
from hark.actions.mail_headers import one_line
from hark.actions.mail_message import MOST_ATTACHED_BYTES, Attachment, Letter, compose, message_id
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Effect
from hark.workflows.errors import ActionError

_TIMEOUT_S = 30.0
_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class SendEmailConfig(ActionConfig):
    """The message."""

    to: Addresses = Field(default_factory=list)
    """Who gets it: text with commas, or a list; with or without names."""
    cc: Addresses = Field(default_factory=list)
    """Who gets a copy, for all to see."""
    bcc: Addresses = Field(default_factory=list)
    """Who gets a copy that nobody else sees."""
    from_: Addresses = Field(default_factory=list, alias="from")
    """Who sends it; without it, the daemon's `mail_from`."""
    reply_to: Addresses = Field(default_factory=list)
    """Who gets the answers."""
    subject: Annotated[Text, AfterValidator(one_line)] = ""
    """One line."""
    body: Text | None = None
    """The message as plain text."""
    html: Text | None = None
    """The message as HTML; beside `body`, readers choose."""
    attachments: Annotated[list[Attachment], Field(max_length=50)] = Field(default_factory=list)
    """Files that go along, 10 MiB together at the most."""
    template_id: str | None = None
    """Reserved for stored templates, which this version does not have."""

    @field_validator("template_id")
    @classmethod
    def _no_templates(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("stored mail templates are not available in this version: write `body` or `html`")
        return value

    @field_validator("attachments")
    @classmethod
    def _not_too_large(cls, value: list[Attachment]) -> list[Attachment]:
        if sum(len(attachment.data()) for attachment in value) > MOST_ATTACHED_BYTES:
            raise ValueError(f"the attachments are larger than {MOST_ATTACHED_BYTES} bytes together")
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> SendEmailConfig:
        if not self.recipients():
            raise ValueError("a mail needs somebody to go to: write `to`, `cc` or `bcc`")
        if len(self.recipients()) > MOST_ADDRESSES:
            raise ValueError(f"a mail goes to at most {MOST_ADDRESSES} addresses")
        if len(self.from_) > 1:
            raise ValueError("`from` is one address")
        if self.body is None and self.html is None:
            raise ValueError("a mail says something: write `body`, `html` or both")
        return self

    def recipients(self) -> list[str]:
        """Return all bare addresses, each once."""
        return unique([*self.to, *self.cc, *self.bcc])

    def letter(self, sender: Address) -> Letter:
        """Return what the message says."""
        return Letter(
            sender, self.to, self.cc, self.reply_to, self.subject, self.body, self.html, attachments=self.attachments
        )


class SendEmail(Action[SendEmailConfig]):
    """Send an e-mail."""

    spec: ClassVar[ActionSpec] = ActionSpec(
        type="send_email",
        name="Send e-mail",
        description="Send an e-mail as text, HTML or both, with attachments, through the daemon's SMTP server.",
        category="notification",
        effect=Effect.EXTERNAL,
        config=SendEmailConfig,
        example={
            "id": "welcome",
            "action": "send_email",
            "with": {
                "to": "${{ inputs.email }}",
                "subject": "Welcome",
                "body": "Hello ${{ inputs.name }}, good to have you here.",
            },
            "retry": {"retries": 3, "delay": "30s"},
        },
        output_schema={
            "type": "object",
            "properties": {
                "message_id": {"type": "string"},
                "accepted": {"type": "array", "items": {"type": "string"}},
                "refused": {
                    "type": "object",
                    "description": "Recipients that the server did not take, each with code and message.",
                },
            },
            "required": ["message_id", "accepted", "refused"],
        },
        permissions=("email.send",),
        practice=(
            (
                "The server is configured once for the daemon: `smtp_host`, `smtp_port`, `smtp_username`,"
                " `smtp_password`, `smtp_tls` (`none`, `starttls` or `tls`), `mail_from`."
            ),
            "While you try things out, `mail_dir` names a directory that mails are written to instead of being sent.",
            "Give the step a `retry`: a lost connection and 4xx answers are tried again, 5xx answers are final.",
            "When the server refuses some recipients the mail goes to the others: look at `output.refused`.",
            "The Message-ID is the same for every attempt, so a mail sent twice by accident can be told.",
        ),
        security=(
            "Line breaks in addresses, subject and file names are refused: no input can add a header or a recipient.",
            "Text that strangers wrote belongs into `body`, which is plain text; in `html` it would be markup.",
            "With `smtp_tls: none` password and mail travel in the clear: only for a server on the same machine.",
        ),
    )

    async def run(self, config: SendEmailConfig, context: ActionContext) -> dict[str, Any]:
        sender = _sender(config, context.settings)
        identifier = message_id(context.idempotency_key, sender.domain)
        message = compose(config.letter(sender), identifier, context.now)
        recipients = config.recipients()
        if context.settings.get("mail_dir"):
            await asyncio.to_thread(_write, message, Path(context.settings["mail_dir"]), context.idempotency_key)
            return {"message_id": identifier, "accepted": recipients, "refused": {}}
        refused = await _deliver(message, sender.addr_spec, recipients, _connection(sender, context.settings))
        accepted = [address for address in recipients if address not in refused]
        return {"message_id": identifier, "accepted": accepted, "refused": refused}


def _sender(config: SendEmailConfig, settings: Mapping[str, Any]) -> Address:
    if config.from_:
        sender: Address = config.from_[0]
        return sender
    try:
        return parse_addresses(settings.get("mail_from") or "")[0]
    except ValueError as error:
        raise _not_configured("write `from`, or set mail_from (HARK_MAIL_FROM)") from error


def _write(message: EmailMessage, directory: Path, key: str) -> None:
    """Write the message to a file instead of sending it, under the name that every attempt gives it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{key}.eml").write_bytes(message.as_bytes())
    except OSError as error:
        raise ActionError(f"mail_dir: {error}", error_class="email_connection") from error


def _connection(sender: Address, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for the SMTP client."""
    if not settings.get("smtp_host"):
        raise _not_configured("set smtp_host (HARK_SMTP_HOST)")
    security = settings.get("smtp_tls") or "starttls"
    return {
        "hostname": settings["smtp_host"],
        "port": settings.get("smtp_port") or _PORTS[security],
        "username": settings.get("smtp_username") or None,
        "password": settings.get("smtp_password") or None,
        "use_tls": security == "tls",
        "start_tls": security == "starttls",
        "timeout": _TIMEOUT_S,
        # Otherwise the machine's own name would be looked up, which blocks, and be told to the server.
        "local_hostname": sender.domain,
    }


def _not_configured(hint: str) -> ActionError:
    return ActionError(f"e-mail is not configured: {hint}", error_class="email_not_configured", retryable=False)


async def _deliver(
    message: EmailMessage, sender: str, recipients: list[str], connection: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Send the message; return whom the server refused. Raises ActionError when it went to nobody."""
    try:
        refused, _ = await aiosmtplib.send(message, sender=sender, recipients=recipients, **connection)
    except aiosmtplib.SMTPRecipientsRefused as error:
        raise _all_refused(error) from error
    except aiosmtplib.SMTPResponseException as error:
        raise ActionError(
            f"the mail server answered {error.code} {error.message}",
            error_class="email_refused",
            retryable=not 500 <= error.code < 600,
            details={"code": error.code},
        ) from error
    except aiosmtplib.SMTPNotSupported as error:
        raise ActionError(str(error), error_class="email_not_supported", retryable=False) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise ActionError(f"the mail server cannot be reached: {error}", error_class="email_connection") from error
    return {address: {"code": answer.code, "message": answer.message} for address, answer in refused.items()}


def _all_refused(error: aiosmtplib.SMTPRecipientsRefused) -> ActionError:
    refused = {one.recipient: {"code": one.code, "message": one.message} for one in error.recipients}
    return ActionError(
        f"the mail server refused every recipient: {', '.join(refused)}",
        error_class="email_refused",
        retryable=any(400 <= one.code < 500 for one in error.recipients),
        details={"refused": refused},
    )
