"""The action send_email against a real SMTP server in this process."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default as modern
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis.strategies import lists, sampled_from, text
from pydantic import ValidationError
from support.actions import NOW, make_context, run_action

from hark.actions.mail_addresses import parse_addresses
from hark.actions.mail_headers import one_line
from hark.actions.mail_message import Attachment, Letter, compose
from hark.actions.send_email import SendEmail, SendEmailConfig
from hark.workflows.errors import ActionError

INJECTION = "=?utf-8?q?=0ABcc:victim@y.z=0A=0A<b>owned</b>?="


@dataclass
class Post:
    """A mail server's back room: keeps what comes in, refuses whom it is told to."""

    envelopes: list[Envelope] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    answer: str = "250 taken"
    port: int = 0

    async def handle_RCPT(  # noqa: N802  the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  ditto
        self.envelopes.append(envelope)
        return self.answer

    def message(self) -> EmailMessage:
        content = self.envelopes[-1].content
        assert isinstance(content, bytes)
        message = message_from_bytes(content.replace(b"\r\n", b"\n"), policy=modern)
        assert isinstance(message, EmailMessage)
        return message

    def settings(self, **changes: Any) -> dict[str, Any]:
        given = {"smtp_host": "127.0.0.1", "smtp_port": self.port, "smtp_tls": "none", "mail_from": "Hark <hark@x.org>"}
        return given | changes


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data == LoginPassword(b"ada", b"s3cret"), handled=False)


@pytest.fixture
async def post(request: pytest.FixtureRequest) -> AsyncIterator[Post]:
    post = Post()
    options = getattr(request, "param", {})

    def make() -> SMTP:
        return SMTP(post, hostname="mail.test", loop=asyncio.get_running_loop(), **options)

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    post.port = server.sockets[0].getsockname()[1]
    async with server:
        yield post


async def mail(post: Post, /, **config: Any) -> dict[str, Any]:
    context = make_context(settings=post.settings(**config.pop("settings", {})))
    letter = {"to": "ada@example.org", "subject": "Hello", "body": "Text"} | config
    output: dict[str, Any] = await run_action(SendEmail(), letter, context)
    return output


async def failure(post: Post, /, **config: Any) -> ActionError:
    with pytest.raises(ActionError) as caught:
        await mail(post, **config)
    return caught.value


async def test_a_mail_arrives_with_its_headers(post: Post) -> None:
    output = await mail(
        post,
        to="Ada <ada@example.org>, bob@example.org",
        cc=["carl@example.org"],
        bcc=["dora@example.org", "ada@example.org"],
        replyTo="Desk <desk@example.org>",
        **{"from": "Grüße <hello@x.org>"},
        subject="Schöne Grüße 🎉",
        body="Zeile ä\n.\nEnde",
    )
    message = post.message()
    everybody = ["ada@example.org", "bob@example.org", "carl@example.org", "dora@example.org"]
    assert post.envelopes[0].mail_from == "hello@x.org"
    assert post.envelopes[0].rcpt_tos == everybody
    assert output == {"message_id": message["Message-ID"], "accepted": everybody, "refused": {}}
    assert (message["From"], message["To"]) == ("Grüße <hello@x.org>", "Ada <ada@example.org>, bob@example.org")
    assert (message["Cc"], message["Reply-To"], message["Bcc"]) == (
        "carl@example.org",
        "Desk <desk@example.org>",
        None,
    )
    assert message["Subject"] == "Schöne Grüße 🎉"
    assert message["Date"].datetime == NOW
    assert message.get_content() == "Zeile ä\n.\nEnde\n"


async def test_the_message_id_is_that_of_the_step(post: Post) -> None:
    first, again = await mail(post), await mail(post, subject="Other")
    assert first["message_id"] == again["message_id"]
    assert first["message_id"].endswith("@x.org>")
    other = await SendEmail().run(
        SendEmailConfig(to="a@example.org", body="x"),
        make_context(settings=post.settings(), idempotency_key="key-2"),
    )
    assert other["message_id"] != first["message_id"]


async def test_text_and_html_stand_side_by_side_with_attachments(post: Post) -> None:
    await mail(
        post,
        html="<b>Grüße</b>",
        attachments=[
            {"filename": "zahlen.csv", "content": "ä;1\n"},
            {"filename": "größe.bin", "contentBase64": b64encode(b"\0\xff").decode()},
            {"filename": "x.json", "content": {"a": 1}, "content_type": "application/vnd.a+json"},
        ],
    )
    message = post.message()
    body, html = message.get_body(("plain",)), message.get_body(("html",))
    assert body is not None
    assert html is not None
    assert (body.get_content(), html.get_content()) == ("Text\n", "<b>Grüße</b>\n")
    files = list(message.iter_attachments())
    assert [(file.get_filename(), file.get_content_type()) for file in files] == [
        ("zahlen.csv", "text/csv"),
        ("größe.bin", "application/octet-stream"),
        ("x.json", "application/vnd.a+json"),
    ]
    assert [file.get_payload(decode=True) for file in files] == ["ä;1\n".encode(), b"\0\xff", b'{"a":1}']


async def test_html_alone_is_html(post: Post) -> None:
    await mail(post, body=None, html="<p>x</p>")
    assert (post.message().get_content_type(), post.message().get_content()) == ("text/html", "<p>x</p>\n")


async def test_domains_in_other_scripts_are_written_in_ascii(post: Post) -> None:
    output = await mail(post, to="Jürgen <jm@müller.example>")
    assert output["accepted"] == ["jm@xn--mller-kva.example"]


@pytest.mark.parametrize("post", [{"enable_SMTPUTF8": True}], indirect=True)
async def test_users_in_other_scripts_are_written_where_the_server_knows_them(post: Post) -> None:
    assert (await mail(post, to="jürgen@example.org"))["accepted"] == ["jürgen@example.org"]


async def test_users_in_other_scripts_are_refused_where_the_server_does_not(post: Post) -> None:
    error = await failure(post, to="jürgen@example.org")
    assert (error.error_class, error.retryable) == ("email_not_supported", False)


async def test_who_was_refused_is_told_and_the_others_get_the_mail(post: Post) -> None:
    post.refuse["bob@example.org"] = "550 no such user"
    output = await mail(post, to=["ada@example.org", "bob@example.org"])
    assert output["accepted"] == ["ada@example.org"]
    assert output["refused"] == {"bob@example.org": {"code": 550, "message": "no such user"}}


@pytest.mark.parametrize("answer, retryable", [("451 try later", True), ("550 no such user", False)])
async def test_when_all_are_refused_the_step_fails(post: Post, answer: str, retryable: bool) -> None:
    post.refuse["ada@example.org"] = answer
    error = await failure(post)
    assert (error.error_class, error.retryable) == ("email_refused", retryable)
    assert error.details == {"refused": {"ada@example.org": {"code": int(answer[:3]), "message": answer[4:]}}}


@pytest.mark.parametrize("answer, retryable", [("452 disk full", True), ("554 spam", False)])
async def test_an_answer_to_the_message_decides_about_another_attempt(post: Post, answer: str, retryable: bool) -> None:
    post.answer = answer
    error = await failure(post)
    assert (error.retryable, error.details) == (retryable, {"code": int(answer[:3])})


async def test_a_server_that_is_away_may_be_back_later(post: Post, unused_tcp_port: int) -> None:
    error = await failure(post, settings={"smtp_port": unused_tcp_port})
    assert (error.error_class, error.retryable) == ("email_connection", True)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize(
    "post", [{"auth_required": True, "auth_require_tls": False, "authenticator": authenticate}], indirect=True
)
async def test_user_and_password_are_those_of_the_settings(post: Post) -> None:
    await mail(post, settings={"smtp_username": "ada", "smtp_password": "s3cret"})
    error = await failure(post, settings={"smtp_username": "ada", "smtp_password": "wrong"})
    assert (error.error_class, error.retryable) == ("email_refused", False)
    assert "wrong" not in str(error)
    assert len(post.envelopes) == 1


async def test_without_encryption_on_the_server_starttls_does_not_send(post: Post) -> None:
    error = await failure(post, settings={"smtp_tls": "starttls"})
    assert error.error_class in {"email_connection", "email_not_supported"}
    assert not post.envelopes


@pytest.mark.parametrize("settings", [{"smtp_host": ""}, {"smtp_host": None}, {"mail_from": ""}, {"mail_from": "x"}])
async def test_what_is_not_configured_is_named(post: Post, settings: dict[str, Any]) -> None:
    error = await failure(post, settings=settings)
    assert (error.error_class, error.retryable) == ("email_not_configured", False)
    assert f"HARK_{next(iter(settings)).upper()}" in str(error)


@pytest.mark.parametrize(
    "config, said",
    [
        ({"to": "a@example.org\r\nBcc: b@example.org"}, "line breaks"),
        ({"to": '"a\nb" <a@example.org>'}, "line breaks"),
        ({"reply_to": "a@example.org\nX: y"}, "line breaks"),
        ({"subject": "a\r\nBcc: b@example.org"}, "line breaks"),
        *(({"subject": f"a{end}b"}, "line breaks") for end in "\x85\u2028\u2029"),
        ({"to": '"a\u2028b" <a@example.org>'}, "line breaks"),
        ({"attachments": [{"filename": "a\u2028b", "content": ""}]}, "line breaks"),
        ({"subject": INJECTION}, "encoded words"),
        ({"subject": "Re: =?UTF-8*en?B?CkJjYzog?="}, "encoded words"),
        ({"to": f'"{INJECTION}" <a@example.org>'}, "encoded words"),
        ({"to": '"=\\?utf-8?\\q?=0ABcc:b@example.org?=" <a@example.org>'}, "encoded words"),
        ({"to": "=?utf-8?q?=0ABcc?= <a@example.org>"}, "encoded words"),
        ({"cc": "=?utf-8?q?=0ABcc?=@example.org"}, "encoded words"),
        ({"attachments": [{"filename": INJECTION.replace("/", ""), "content": ""}]}, "encoded words"),
        ({"to": "nobody"}, "is no address: write ada@example.org"),
        ({"to": "a@b@c"}, "is no address"),
        ({"to": "@example.org"}, "is no address"),
        ({"to": "a@"}, "is no address"),
        ({"to": ["a@example.org", 7]}, "to.1\n.*is no address"),
        ({"to": "a..b@example.org"}, "is no name of a mailbox"),
        ({"to": "a@-x.org"}, "is no domain"),
        ({"to": "a@x..org"}, "is no domain"),
        ({"to": "a@x_y.org"}, "is no domain"),
        ({"to": "a@x.org b@y.org"}, "is no address"),
        ({"to": "a b@example.org"}, "is no address"),
        ({"to": ""}, "somebody to go to"),
        ({"to": [], "cc": None}, "somebody to go to"),
        ({"from": "a@example.org, b@example.org"}, "`from` is one address"),
        ({"body": None}, "says something"),
        ({"to": [f"a{n}@example.org" for n in range(501)]}, "at most 500"),
        ({"templateId": "welcome"}, "stored mail templates are not available"),
        ({"attachments": [{"filename": "x"}]}, "either `content` or `content_base64`"),
        ({"attachments": [{"filename": "x", "content_base64": "%"}]}, "this is not base64"),
        ({"attachments": [{"filename": "a/b", "content": ""}]}, "filename"),
        ({"attachments": [{"filename": "a\r\nb", "content": ""}]}, "filename"),
        ({"attachments": [{"filename": "x", "content": "", "content_type": "text"}]}, "content_type"),
        ({"attachments": [{"filename": "x", "content": "", "content_type": "message/rfc822"}]}, "cannot be multipart"),
        ({"attachments": [{"filename": "x", "content": "x" * 6_000_000}] * 2}, "larger than"),
    ],
)
def test_a_wrong_config_is_refused_with_what_would_be_right(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SendEmailConfig.model_validate({"to": "ada@example.org", "body": "x", **config})


@pytest.mark.parametrize("place", ["subject", "name", "user", "file"])
def test_no_message_is_made_whose_headers_break_out_of_their_lines(place: str) -> None:
    """Some versions of the standard library decode the word and write what comes out; others leave it encoded."""
    attachment = Attachment(filename="x", content="x")
    texts = {"subject": "a", "name": "a", "user": "a"} | {place: INJECTION}
    if place == "file":
        attachment = attachment.model_copy(update={"filename": INJECTION})
    to = [Address(texts["name"], texts["user"], "x.org")]
    letter = Letter(Address("", "a", "x.org"), to, [], [], texts["subject"], "x", None, [attachment])
    found: str | ActionError | None
    try:
        found = message_from_bytes(compose(letter, "<a@x.org>", NOW).as_bytes())["Bcc"]
    except ActionError as error:
        found = error
    if found is not None:
        assert isinstance(found, ActionError)
        assert ("break out of its line" in str(found), found.retryable) == (True, False)


@given(text(max_size=300), text(max_size=200), text(min_size=1, max_size=200))
def test_every_text_that_is_accepted_stands_in_its_header(subject: str, name: str, filename: str) -> None:
    try:
        texts = [one_line(one) for one in (subject, name, filename)]
    except ValueError:
        return
    attachment = Attachment.model_construct(filename=texts[2], content="x", content_base64=None, content_type=None)
    sender = Address(texts[1], "a", "x.org")
    assert compose(Letter(sender, [sender], [], [], texts[0], "x", None, [attachment]), "<a@x.org>", NOW)


@pytest.mark.parametrize(
    "text, names",
    [
        ("ada@example.org", ["ada@example.org"]),
        (" a@x.org ,b@y.org, ", ["a@x.org", "b@y.org"]),
        ('"Lovelace, Ada \\"A\\"" <ada@x.org>', ['"Lovelace, Ada \\"A\\"" <ada@x.org>']),
        ("Ada Lovelace<ada+tag@x.org>", ["Ada Lovelace <ada+tag@x.org>"]),
        ("<ada@localhost>", ["ada@localhost"]),
        ("Dr. Ada <ada@x.org>", ['"Dr. Ada" <ada@x.org>']),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, names: list[str]) -> None:
    assert [str(address) for address in parse_addresses(text)] == names


@given(lists(sampled_from(["a", "@", ".", ",", '"', "<", ">", "(", ")", "[", "]", ":", ";", " ", "\\", "ä", "b.c"])))
def test_every_text_is_an_address_with_user_and_domain_or_refused(pieces: list[str]) -> None:
    try:
        addresses = parse_addresses("".join(pieces))
    except ValueError:
        return
    assert addresses
    assert all(address.username and address.domain.isascii() for address in addresses)


async def test_with_a_mail_directory_the_message_becomes_a_file(tmp_path: Path) -> None:
    config = {"to": "lead@example.org", "from": "hello@example.org", "subject": "Hi", "body": "Hello"}
    context = make_context(settings={"mail_dir": tmp_path / "mail"})
    output = await run_action(SendEmail(), config, context)
    [file] = (tmp_path / "mail").iterdir()
    message = message_from_bytes(file.read_bytes(), policy=modern)
    assert (message["To"], message["Subject"]) == ("lead@example.org", "Hi")
    assert output["accepted"] == ["lead@example.org"]
