"""Answering approvals: who may, what the form says, and that exactly one answer counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from hark.daemon.engine.approval_links import ApprovalLinks
from hark.daemon.engine.form import FormRules
from hark.daemon.engine.payload import encode
from hark.daemon.store.approvals import ApprovalStore, Asked
from hark.workflows.errors import ConflictError, ForbiddenError, NotFoundError, UnprocessableError

LINK = "link"
"""The name under which `approvers` lets in whoever has the link."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as somebody gives it."""

    approved: bool
    by: str
    """Who, for the record: what the caller says, else the name of the key."""
    via: str
    """What it came by, and what `approvers` name: a key's name, or `link`."""
    comment: str = ""
    form: Mapping[str, Any] = field(default_factory=dict)


class Approvals:
    """The waits for an answer of people."""

    def __init__(self, store: ApprovalStore, links: ApprovalLinks, *, on_answered: Callable[[], None]) -> None:
        self.store = store
        self.links = links
        self._on_answered = on_answered

    async def choose(self, tenant_id: UUID, execution_id: UUID, step: str | None) -> Asked:
        """Return the wait that is meant: the named step, or the only one that waits.

        Raises NotFoundError, ConflictError when nothing waits, UnprocessableError when several do and none is named.
        """
        asked = await self.store.of_execution(tenant_id, execution_id)
        if asked is None:
            raise NotFoundError(f"there is no execution {execution_id}")
        if step is not None:
            return _named(asked, step, execution_id)
        waiting = [one for one in asked if one.is_open]
        if not waiting:
            raise _nothing_waits(asked, execution_id)
        if len(waiting) > 1:
            names = ", ".join(one.path for one in waiting)
            raise UnprocessableError(f"step: several steps of execution {execution_id} wait; name one of: {names}")
        return waiting[0]

    async def answer(self, asked: Asked, said: Said) -> None:
        """Answer a wait; returns after the commit.

        Raises ForbiddenError, UnprocessableError with a problem for each field of the form, ConflictError when it has
        ended: answered, timed out, or with its execution.
        """
        if not asked.is_open:
            raise ended(asked)
        if asked.approvers and said.via not in asked.approvers:
            raise ForbiddenError(
                f"{said.via!r} may not answer step {asked.path!r}; who may: {', '.join(asked.approvers)}"
            )
        form = FormRules(asked.form).read(said.form, complete=said.approved)
        answer = {"approved": said.approved, "by": said.by, "via": said.via, "comment": said.comment, "form": form}
        if not await self.store.answer(asked, encode(answer, "the answer"), said.by, approved=said.approved):
            raise ended(await self.store.again(asked) or asked)
        self._on_answered()


def ended(asked: Asked) -> ConflictError:
    """Say why a wait takes no answer any more."""
    return ConflictError(f"step {asked.path!r} takes no answer: {asked.state}")


def _named(asked: Sequence[Asked], step: str, execution_id: UUID) -> Asked:
    found = next((one for one in asked if one.path == step), None)
    if found is not None:
        return found
    waiting = ", ".join(one.path for one in asked if one.is_open)
    raise NotFoundError(
        f"no step {step!r} of execution {execution_id} has asked for an answer"
        + (f"; waiting: {waiting}" if waiting else "")
    )


def _nothing_waits(asked: Sequence[Asked], execution_id: UUID) -> ConflictError:
    if len(asked) == 1:
        return ended(asked[0])
    return ConflictError(f"nothing in execution {execution_id} waits for an answer")
