"""How long a provider asks to wait: in a header, or in the words of its refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC

from automix_cli.backends.echoes import is_echo
from automix_cli.texts import lazy_pattern

_MILLIS: Mapping[str, int] = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNIT = r"(ms|millis\w*|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_FIGURE = r"\d{1,9}(?:\.\d{1,9})?"
_PART = lazy_pattern(rf"({_FIGURE})\s?{_UNIT}(?![a-z])", re.IGNORECASE | re.ASCII)
_JOINT = r"(?:,? and |, |\s)?"
_DURATION = rf"({_FIGURE}\s?{_UNIT}(?![a-z])(?:{_JOINT}{_FIGURE}\s?{_UNIT}(?![a-z]))*|{_FIGURE}(?!\d))"
_ABOUT = r"(?:about |approximately |around |~ ?)?"


def _asks(pattern: str) -> re.Pattern[str]:
    return lazy_pattern(pattern + _DURATION, re.IGNORECASE | re.ASCII)


_ASKED_MILLIS = _asks(r"retry[-_]?(?:delay|after)[-_]?(?:ms|millis\w*)\W{1,6}")
_ASKED = (
    _asks(r"retry[-_]?(?:delay|after)(?:[-_]?(?:seconds|secs?|s))?\W{1,6}"),
    _asks(rf"(?:try(?:ing)? again|retry(?:ing)?) (?:in|after) {_ABOUT}"),
    _asks(rf"wait (?:for )?{_ABOUT}"),
    _asks(r"estimated_time\W{1,6}"),  # of a model being loaded
)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the headers ask to wait; None when they do not, or when that is unreadable.

    Reads `retry-after-ms`, `Retry-After` in seconds, with a unit, and as an HTTP date (RFC 9110,
    10.2.3; a date without a zone is read as GMT, which it must be). `now` is Unix time.

    Example:
        >>> retry_after({"Retry-After": "2"}, now=0.0), retry_after({"retry-after-ms": "250"}, now=0.0)
        (2.0, 0.25)
        >>> retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=10.0)
        50.0
    """
    values = {name.lower(): str(value).strip() for name, value in headers.items()}
    millis = duration(values.get("retry-after-ms", ""), unit="ms")
    if millis is not None:
        return millis
    text = values.get("retry-after", "")
    seconds = duration(text)
    return seconds if seconds is not None else _seconds_until(text, now)


def wait_in(text: str, texts: Sequence[str] = ()) -> float | None:
    """Seconds that the words of a refusal ask to wait; None where they say nothing of it.

    What they repeat of the texts that were sent is no request of the server's.

    Example:
        >>> wait_in("Please retry in 20.04s."), wait_in("try again in 1m0.5s"), wait_in("slow down")
        (20.04, 60.5, None)
    """
    for pattern in (_ASKED_MILLIS, *_ASKED):
        for match in pattern.finditer(text):
            if not is_echo(match, texts):
                return duration(match[1], unit="ms" if pattern is _ASKED_MILLIS else "s")
    return None


def duration(text: str, unit: str = "s") -> float | None:
    """Seconds of a duration; `unit` is that of a bare number.

    It is read by pattern, because `float` alone would take "nan", "1e9" and "1_0".

    Example:
        >>> duration("26s"), duration("350ms"), duration("6m0s"), duration("2 minutes"), duration("soon")
        (26.0, 0.35, 360.0, 120.0, None)
    """
    if re.fullmatch(_FIGURE, text, re.ASCII):
        return float(text) * _MILLIS[unit] / 1000
    if not re.fullmatch(rf"(?:{_FIGURE}\s?{_UNIT}{_JOINT})+", text, re.IGNORECASE | re.ASCII):
        return None
    return sum(float(number) * _MILLIS[_short(name)] for number, name in _PART.findall(text)) / 1000


def _short(name: str) -> str:
    """The symbol of a unit, however it is written."""
    name = name.lower()
    return "ms" if name.startswith(("ms", "milli")) else name[0]


def _seconds_until(text: str, now: float) -> float | None:
    """Seconds from `now` to an HTTP date, 0 when it is past."""
    from email.utils import parsedate_to_datetime  # rarely needed, and slow to import

    if not re.search(r"[A-Za-z]", text):
        return None
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, aware.timestamp() - now)
