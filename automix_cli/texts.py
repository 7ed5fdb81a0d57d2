"""Small words about texts: counts with their nouns, names of tiers, and what shows nothing."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from json import JSONEncoder


class _LazyPattern:
    """Stands for a compiled pattern; see `lazy_pattern`."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._pattern, self._flags = pattern, flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._pattern, self._flags), name)
        setattr(self, name, value)
        return value


def lazy_pattern(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """A regular expression that is compiled when it is first used.

    To compile those that an answer from the cache never uses would take a twentieth of its time.

    Example:
        >>> lazy_pattern("[0-9]+").findall("17 * 23")
        ['17', '23']
    """
    return cast("re.Pattern[str]", _LazyPattern(pattern, flags))


def json_encoder(encoder: JSONEncoder) -> Callable[[Any], str]:
    """What an encoder's `encode` does, with the part in C made once: `encode` makes one for every value.

    That takes half of the time of a small value. What contains itself is a RecursionError here.

    Example:
        >>> import json
        >>> json_encoder(json.JSONEncoder(sort_keys=True))({"b": "x", "a": [1.5, None]})
        '{"a": [1.5, null], "b": "x"}'
    """
    from json import encoder as parts

    make: Any = getattr(parts, "c_make_encoder", None)
    if make is None:  # a Python without the part in C
        return encoder.encode
    escape = parts.encode_basestring_ascii if encoder.ensure_ascii else parts.encode_basestring
    separators = encoder.key_separator, encoder.item_separator
    rules = encoder.sort_keys, encoder.skipkeys, encoder.allow_nan
    encode = make(None, encoder.default, escape, None, *separators, *rules)
    return lambda value: "".join(encode(value, 0))


TIER_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
TIER_NAME_RULE = "a name of letters, digits and . _ - (100 at most)"

# Letters by their category that show nothing: fillers of Hangul, and the empty Braille pattern.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")

TOO_FEW_LABELS = "too few labels to say"
"""Why an estimate is withheld."""


def is_blank(text: str) -> bool:
    r"""Whether a text shows nothing: blanks, controls, and characters without a glyph of their own.

    Example:
        >>> is_blank("\u200b\u2060\u3164 \n"), is_blank("\u200b4"), is_blank("")
        (True, False, True)
    """
    if text[:1].isascii() and text[:1].isalnum():  # as nearly every text begins
        return False
    return all(c in _BLANK_LETTERS or unicodedata.category(c) in _BLANK_KINDS for c in text)


_BLANK_KINDS = frozenset({"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"})


def count_of(number: int, word: str) -> str:
    """A count with its noun.

    Example:
        >>> count_of(1, "call"), count_of(1200, "row"), count_of(2, "class")
        ('1 call', '1,200 rows', '2 classes')
    """
    ending = "es" if word.endswith("s") else "s"
    return f"{number:,} {word}{'' if number == 1 else ending}"


DUST = 1e-9
"""By how much sums of shares may miss a whole."""


def share_text(value: float, form: str) -> str:
    """Write a share in so many digits, not rounded up to all, nor down to nothing, where it is not that.

    Example:
        >>> share_text(0.9996, ".2f"), share_text(1.0, ".2f"), share_text(0.004, ".0%")
        ('>0.99', '1.00', '<1%')
    """
    text = f"{value:{form}}"
    if not DUST < value < 1 - DUST or text not in (f"{0.0:{form}}", f"{1.0:{form}}"):
        return text
    step = 10.0 ** -(int(form[1:-1]) + 2 * form.endswith("%"))
    return f">{1 - step:{form}}" if value > 0.5 else f"<{step:{form}}"


def per_cent(share: float, digits: int = 0) -> str:
    """Write a share in per cent, never rounded to all or to nothing.

    Example:
        >>> per_cent(0.127), per_cent(0.9999), per_cent(0.0004, 1)
        ('13 %', '>99 %', '<0.1 %')
    """
    return share_text(share, f".{digits}%").replace("%", " %")


def readable_size(size: int) -> str:
    """A number of bytes for people, in powers of ten.

    Example:
        >>> readable_size(999), readable_size(5_242_880)
        ('999 B', '5.2 MB')
    """
    if size < 1000:
        return f"{size} B"
    value, unit = float(size), 0
    while value >= 999.95 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {' kMGT'[unit]}B"
