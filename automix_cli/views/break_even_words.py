"""The sentences on whether verification can pay, by prices alone."""

from __future__ import annotations

from collections.abc import Iterator

from automix_cli.cascade.break_even import ANSWER_TOKENS, THIRD, BreakEven
from automix_cli.texts import count_of
from automix_cli.views.lines import money


def evidence_words(own: BreakEven) -> str:
    """What the evidence consists of.

    Example:
        >>> evidence_words(BreakEven("small", "large", 1, 8, 0.2, 0.1, 1.0, 8, 100.0, 64.0, 64.0))
        "small's answer and 8 votes on it"
        >>> one = BreakEven("small", "large", 1, 8, 0.2, 0.1, 1.0, 8, 100.0, 64.0, 64.0, pays_one_prompt=True)
        >>> evidence_words(one)
        "small's answer and 8 votes on it in one call"
    """
    answers = f"{own.tier}'s answer" if own.answers == 1 else f"{own.answers} answers of {own.tier}"
    if not own.votes:
        return answers
    calls = " in one call" if own.pays_one_prompt else ""
    return f"{answers} and {count_of(own.votes, 'vote')} on {'it' if own.answers == 1 else 'them'}{calls}"


def break_even_line(own: BreakEven) -> str:
    """Whether verification can pay, and what would make it pay where it cannot."""
    if own.least_times is not None and own.most_times is not None:
        return f"{_range_words(own, own.least_times, own.most_times)}{_prompt_words(own)}"
    head = f"{evidence_words(own)} cost {own.times:.2g} × {own.baseline}'s answer at {_length_words(own)}"
    if own.can_pay:
        saves = f"routing saves where more than {own.times:.0%} of answers need no {own.baseline}"
        return f"{head}: {saves}{_prompt_words(own)}"
    return f"{head}: {_way_out(own)}{_prompt_words(own)}"


def _range_words(own: BreakEven, least: float, most: float) -> str:
    """Whether verification can pay where lengths are not known, and between which they are taken to be."""
    head = (
        f"{evidence_words(own)} cost {least:.2g} to {most:.2g} × {own.baseline}'s answer at "
        f"{_prompt_length(own)}, by lengths that the cache does not tell: {', '.join(own.unknown_lengths)}"
    )
    if most < 1:
        saves = f"routing saves where more than {most:.0%} of answers need no {own.baseline}"
        return f"{head}; {saves}, at any of these lengths"
    if least >= 1:
        return f"{head}; not all of them can pay at any of these lengths; fewer votes (max_votes) cost less"
    return (
        f"{head}; whether routing can pay hangs on these; automix calibrate on a few labelled rows shows them"
    )


def _prompt_words(own: BreakEven) -> str:
    """That votes may share a prompt, which is not counted on."""
    if not own.own_prompts:
        return ""
    return (
        f"; each vote with a prompt of its own, as nobody knows whether the server of {own.tier} shares one"
    )


def _length_words(own: BreakEven) -> str:
    """The lengths that it holds for.

    Example:
        >>> _length_words(BreakEven("small", "large", 1, 8, 0.2, 0.1, 1.0, 8, 14.0, 12.0, 90.0))
        'prompts of about 14 tokens and answers of about 12 (small) and 90 (large)'
    """
    small, large = round(own.answer_tokens), round(own.baseline_tokens)
    if small == large:
        return f"{_prompt_length(own)} and answers of about {small:,}"
    return f"{_prompt_length(own)} and answers of about {small:,} ({own.tier}) and {large:,} ({own.baseline})"


def _prompt_length(own: BreakEven) -> str:
    return f"prompts of about {_two_digits(own.prompt_tokens):,} tokens"


def _way_out(own: BreakEven) -> str:
    """What cannot pay, and what may."""
    if own.answers > 1:
        return "they cannot pay; sample fewer (max_votes)"
    if own.fewer_votes:
        return f"all of them cannot pay; max_votes: {own.fewer_votes} at most, or signal: logprob"
    return "not even one vote can pay; signal: logprob with logprob_of: answer buys none"


def payback_lines(own: BreakEven, usd: float) -> Iterator[str]:
    """After how many questions labelled rows that cost `usd` to answer are paid back."""
    head = f"this file costs about {money(usd)}"
    if own.least_times is not None and own.most_times is not None and own.least_times < 1:
        yield f"{head}; after how many questions that is paid back hangs on the same lengths"
        return
    earliest, likely = own.earliest_payback(usd), own.payback(usd)
    if earliest is None:
        yield f"{head}, which routing cannot pay back as the profile stands"
        return
    when = f"paid back after {likely:,} questions if" if likely is not None else "never paid back if"
    of = "of them" if likely is not None else "of questions"
    yield f"{head}: {when} {THIRD:.0%} {of} go to {own.baseline}, after {earliest:,} at the earliest"


def context_line(tokens: float | None) -> Iterator[str]:
    """From which length of context on the evidence costs more than it can save, if there is one."""
    if tokens:
        longer = f"with over {_two_digits(tokens):,} tokens of context"
        yield f"{longer} they cost more than that answer where answers have about {ANSWER_TOKENS} tokens"


def _two_digits(number: float) -> int:
    """A number to two digits.

    Example:
        >>> _two_digits(6123.4), _two_digits(87.2)
        (6100, 87)
    """
    return int(float(f"{number:.2g}"))
