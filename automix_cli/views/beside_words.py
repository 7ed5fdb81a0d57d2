"""Words where answers are compared with a baseline's: equal or different, which is not right or wrong."""

from __future__ import annotations

from automix_cli.data.traces import TraceTable


def answer_words(text: str, baseline: str | None) -> str:
    """A text about right and wrong answers, about equal and different ones where there is a baseline.

    Example:
        >>> answer_words("there are no wrong answers", "large")
        "there are no answers that differ from large's"
        >>> answer_words("there are no wrong answers", None)
        'there are no wrong answers'
    """
    if baseline is None:
        return text
    text = text.replace("wrong answers", f"answers that differ from {baseline}'s")
    return text.replace("right answers", f"answers equal to {baseline}'s")


def all_alike_words(tier: str, baseline: str | None, *, right: bool) -> str:
    """Say that a tier's answers are all right or all wrong, or all equal to the baseline's or none.

    Example:
        >>> all_alike_words("small", "large", right=False)
        "every answer of small differs from large's: nothing to tell apart"
    """
    if baseline is None:
        return f"every answer of {tier} is {'right' if right else 'wrong'}: nothing to tell apart"
    verb = "is equal to" if right else "differs from"
    return f"every answer of {tier} {verb} {baseline}'s: nothing to tell apart"


def worse_words(dearer: str, cheaper: str, baseline: str | None) -> str:
    """Say that a tier costs more than another and is worse, or is equal to the baseline less often.

    Example:
        >>> worse_words("mid", "small", "large")
        'mid costs more than small and agrees less with large on these rows'
    """
    worse = "is worse" if baseline is None else f"agrees less with {baseline}"
    return f"{dearer} costs more than {cheaper} and {worse} on these rows"


def measure_words(text: str, table: TraceTable) -> str:
    """A text about quality, about agreement where no row has a label."""
    relative = table.relative
    if relative is None or relative.has_label.any():
        return text
    return text.replace("quality", "agreement")
