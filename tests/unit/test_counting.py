"""Numbers of things, as people read them."""

from __future__ import annotations

from hark.workflows.counting import counted


def test_one_is_one_thing_and_any_other_number_several() -> None:
    assert [counted(number, "file") for number in (0, 1, 2, 1234)] == ["0 files", "1 file", "2 files", "1,234 files"]
    assert [counted(number, "channel is", "channels are") for number in (1, 2)] == ["1 channel is", "2 channels are"]
