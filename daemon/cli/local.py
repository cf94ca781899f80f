"""What commands know without a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hark.workflows.catalogue import Catalogue


def local_catalogue() -> Catalogue:
    """Return the catalogue of all that this installation brings along."""
    from hark.actions.builtin import builtin_actions
    from hark.triggers.builtin import builtin_triggers
    from hark.workflows.catalogue import Catalogue

    return Catalogue(builtin_actions(), builtin_triggers())
