"""What may be the name of a tier, and what is no text although it has characters."""

from __future__ import annotations

import re
import unicodedata

TIER_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
TIER_NAME_RULE = "a name of letters, digits and . _ - (100 at most)"

# Letters by their category that show nothing: fillers of Hangul, and the empty Braille pattern.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def is_blank(text: str) -> bool:
    r"""Whether a text shows nothing: blanks, controls, and characters without a glyph of their own.

    Example:
        >>> is_blank("\u200b\u2060\u3164 \n"), is_blank("\u200b4"), is_blank("")
        (True, False, True)
    """
    return all(c in _BLANK_LETTERS or unicodedata.category(c) in _BLANK_KINDS for c in text)


_BLANK_KINDS = frozenset({"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"})
