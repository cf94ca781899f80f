"""The limit of open files is raised, and never lowered."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from hark.daemon.file_limit import ENOUGH, raise_file_limit


@pytest.fixture
def hard() -> Iterator[int]:
    """Give the hard limit; the soft one is put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_limit_is_raised_as_far_as_may_be(hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    raise_file_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (ENOUGH if hard < 0 else min(ENOUGH, hard), hard)


def test_a_higher_one_stays(hard: int) -> None:
    if hard >= 0 and hard <= ENOUGH:
        pytest.skip("this system allows no more")
    resource.setrlimit(resource.RLIMIT_NOFILE, (ENOUGH + 1, hard))
    raise_file_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == ENOUGH + 1
