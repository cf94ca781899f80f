"""The triggers on one route, found by the values that an event has: its cost grows with those that it may concern."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from hark.workflows.cel.lookup import find
from hark.workflows.errors import ExpressionError
from hark.workflows.requirements import ABSENT, OTHER, Path, Requirement, key_of

if TYPE_CHECKING:
    from hark.daemon.engine.registry import Subscription
    from hark.workflows.catalogue import TriggerKind

Names: TypeAlias = Callable[["TriggerKind[Any]"], Mapping[str, Any]]
"""Gives the names that expressions see for an event, by the kind of the trigger."""
_Column: TypeAlias = tuple["TriggerKind[Any]", Path]
_Rows: TypeAlias = "dict[Subscription, None]"
_SHARED = (OTHER, ABSENT)


class RouteIndex:
    """The subscriptions on one route of a tenant, each filed under one of its requirements, or among the rest.

    Of several requirements the most telling one is taken: that whose keys fewest others are filed under. To add and to
    remove one costs the same however many there are.
    """

    __slots__ = ("_columns", "_next", "_places", "_rest")

    def __init__(self) -> None:
        self._places: dict[Subscription, tuple[int, _Column, Requirement] | tuple[int, None, None]] = {}
        """Every subscription, with its number in the order in which they came, and where it is filed."""
        self._columns: dict[_Column, dict[Any, _Rows]] = {}
        self._rest: _Rows = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._places)

    def add(self, subscription: Subscription) -> None:
        """File a subscription behind all others."""
        self._next += 1
        chosen = min(subscription.requirements, key=lambda one: self._crowd(subscription, one), default=None)
        if chosen is None:
            self._places[subscription] = (self._next, None, None)
            self._rest[subscription] = None
            return
        place = (subscription.kind, chosen.path)
        self._places[subscription] = (self._next, place, chosen)
        column = self._columns.setdefault(place, {})
        for key in chosen.keys:
            column.setdefault(key, {})[subscription] = None

    def remove(self, subscription: Subscription) -> None:
        """Take a subscription out."""
        _, place, filed = self._places.pop(subscription)
        if place is None or filed is None:
            del self._rest[subscription]
            return
        column = self._columns.get(place, {})  # with no key at all (`in []`) it was never more than empty
        for key in filed.keys:
            rows = column[key]
            del rows[subscription]
            if not rows:
                del column[key]
        if not column:
            self._columns.pop(place, None)

    def candidates(self, names: Names) -> Sequence[Subscription]:
        """Return the subscriptions that an event may concern, in the order in which they were added."""
        found = dict(self._rest)
        for (kind, path), column in self._columns.items():
            rows = column.get(_key_at(names(kind), path))
            if rows:
                found.update(rows)
        return sorted(found, key=lambda one: self._places[one][0])

    def _crowd(self, subscription: Subscription, requirement: Requirement) -> tuple[int, bool]:
        """Say how telling a requirement is: how many share its keys, and whether its path would be a new one to read.

        The fullest key counts, for that is what an event costs; many keys with few others behind each are as good.
        """
        column = self._columns.get((subscription.kind, requirement.path))
        if column is None:
            return 0, True
        return max((len(column.get(key, ())) for key in requirement.keys if key not in _SHARED), default=0), False


def _key_at(frame: Mapping[str, Any], path: Path) -> Any:
    try:
        return key_of(find(frame, path))
    except ExpressionError:
        return OTHER
