"""What others have written is shown as it is, not as it would like to be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from candled.core.text import visible

NASTY = "a\x1b[2J\r\nerror: forged\x00\x9b31m\u202egnp.\u2028\ud800"


@given(st.text(st.characters(exclude_categories=[])))
def test_only_what_is_seen_as_itself_remains(text: str):
    """No line end, no escape sequence, no turn of direction; what can be seen is not touched."""
    shown = visible(text)
    assert shown.isprintable()
    assert (shown == text) == text.isprintable()


def test_what_is_escaped_can_still_be_read():
    """As Python writes it, with a line end where it is meant to be one."""
    said = r"a\x1b[2J\r\nerror: forged\x00\x9b31m\u202egnp.\u2028\ud800"
    assert visible(NASTY) == said
    assert visible("one\ntwo\x07", "\n") == "one\ntwo\\x07"
