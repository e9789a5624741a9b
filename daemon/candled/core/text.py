"""Text for people that others have written: made such that a terminal or a log shows only that.

A venue's answer, a bundle's name or a broker's topic may hold line ends, escape sequences and signs
that turn the writing direction. Shown as they are, they forge lines and hide words.
"""

from __future__ import annotations


def visible(text: str, kept: str = "") -> str:
    """Return the text with everything that is not seen as itself written as a Python escape.

    The characters in `kept`, a line end for example, stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign in kept else _shown(sign) for sign in text)


def _shown(sign: str) -> str:
    return sign if sign.isprintable() else sign.encode("unicode_escape").decode()
