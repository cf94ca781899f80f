"""What is printed of texts from outside."""

from __future__ import annotations

import pytest

from hark.daemon.cli.output import visible
from hark.daemon.configuration import mask_url, without_password


def test_text_from_outside_steers_no_terminal_and_fakes_no_line() -> None:
    """A webhook's body that was logged used to clear the reader's screen."""
    assert visible("a\x1b[2J\nb\x07\x9b\u2028c") == "a\\x1b[2J\\nb\\x07\\x9b\\x2028c"
    assert visible("Grüße, 世界 🎉") == "Grüße, 世界 🎉"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@h/db",
        "postgresql://u@h/db?password=secret",
        "postgresql://u@h/db?host=/x&password=secret&port=1",
        "postgresql://u:secret@h/db?sslpassword=secret",
    ],
)
def test_a_password_is_masked_wherever_libpq_takes_one_from(url: str) -> None:
    assert "secret" not in mask_url(url)
    assert "********" in mask_url(url)


def test_psql_gets_its_password_through_the_environment() -> None:
    assert without_password("postgresql://u:s%3At@/db?host=/x") == ("postgresql://u@/db?host=/x", "s:t")
    shown, password = without_password("postgresql:///db?host=/x&password=secret")
    assert ("secret" in shown, password) == (False, "secret")
    assert without_password("postgresql:///db?host=/x") == ("postgresql:///db?host=/x", None)
