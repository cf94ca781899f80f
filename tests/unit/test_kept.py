"""The cache by weight: what it keeps is what was used last, and never weighs more than it may."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from hark.workflows.kept import Kept

LIMIT = 20
uses = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 12) | st.none()), max_size=60)


@given(uses)
def test_it_keeps_the_last_used_up_to_its_weight(uses: list[tuple[int, int | None]]) -> None:
    kept: Kept[int, str] = Kept(LIMIT)
    model: dict[int, int] = {}  # in the order of use
    for key, weight in uses:
        if weight is None:
            assert kept.get(key) == (f"value {key} {model[key]}" if key in model else None)
            if key in model:
                model[key] = model.pop(key)
            continue
        kept.put(key, f"value {key} {weight}", weight)
        model.pop(key, None)
        model[key] = weight
        while sum(model.values()) > LIMIT and len(model) > 1:
            del model[next(iter(model))]
    assert len(kept) == len(model)
    assert all(kept.get(key) is not None for key in list(model))


def test_threads_may_share_it() -> None:
    """A definition is read in a thread while the loop compiles: what one uses the other may just be dropping."""
    kept: Kept[int, int] = Kept(LIMIT)

    def use(first: int) -> None:
        for number in range(first, first + 20_000):
            if kept.get(number % 9) is None:
                kept.put(number % 9, number, 5)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(use, range(4)))
    finally:
        sys.setswitchinterval(usual)
    assert len(kept) == LIMIT // 5


def test_what_is_too_heavy_is_kept_until_the_next() -> None:
    kept: Kept[str, int] = Kept(LIMIT)
    kept.put("huge", 1, LIMIT * 10)
    assert kept.get("huge") == 1
    kept.put("small", 2, 1)
    assert (kept.get("huge"), kept.get("small")) == (None, 2)
