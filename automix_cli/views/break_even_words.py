"""The sentences on whether verification can pay, by prices alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from automix_cli.cascade.break_even import ANSWER_TOKENS, THIRD, BreakEven
from automix_cli.texts import count_of
from automix_cli.views.lines import money, range_words


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
        return _range_words(own, own.least_times, own.most_times)
    times = f"{_times_words(own.times)} × {own.baseline}'s answer"
    head = f"{evidence_words(own)} cost {times} at {_length_words(own)}"
    if own.can_pay:
        return f"{head}: routing saves where more than {own.times:.0%} of answers need no {own.baseline}"
    return f"{head}: {_way_out(own)}"


def _range_words(own: BreakEven, least: float, most: float) -> str:
    """Whether verification can pay where it hangs on what nobody knows, and between which ends."""
    at = _prompt_length(own) if own.unknown_lengths else _length_words(own)
    times = f"{_times_words(least)} to {_times_words(most)}"
    head = (
        f"{evidence_words(own)} cost {times} × {own.baseline}'s answer at {at}, by what no "
        f"call has shown: {', '.join([*own.unknown_lengths, *_prompt_words(own)])}"
    )
    if most < 1:
        saves = f"routing saves where more than {most:.0%} of answers need no {own.baseline}"
        return f"{head}; {saves}, whichever it is"
    if least >= 1:
        return f"{head}; {_dear_words(own)}"
    remedy = "automix calibrate on a few labelled rows shows it"
    return f"{head}; whether routing can pay hangs on this; {remedy}"


def _times_words(times: float) -> str:
    """A factor to two digits.

    Example:
        >>> _times_words(0.0093), _times_words(281.3)
        ('0.0093', '280')
    """
    return f"{times:.2g}" if times < 99.5 else f"{_two_digits(times):,}"


def _prompt_words(own: BreakEven) -> Iterator[str]:
    """That several completions of one call may share a prompt.

    Example:
        >>> one = BreakEven("small", "large", 1, 8, 0.2, 0.1, 1.0, 8, 100.0, 64.0, 64.0, unknown_prompts=8)
        >>> list(_prompt_words(one))
        ['whether the server of small bills 8 votes of one call with one prompt or with 8']
    """
    if n := own.unknown_prompts:
        what = "votes" if own.votes else "answers"
        yield f"whether the server of {own.tier} bills {n} {what} of one call with one prompt or with {n}"


def _dear_words(own: BreakEven) -> str:
    """That all of the evidence costs too much at any of the ends, and whether less of it would."""
    if own.answers > 1:
        return "they cannot pay, whichever it is; sample fewer (max_votes)"
    if own.least_vote_times is not None and own.least_vote_times < 1 < own.votes:
        fewer = f"one vote costs {_times_words(own.least_vote_times)} × at the least"
        dear = f"all {own.votes} on every answer cost more than they can save, whichever it is"
        return f"{dear}; fewer may pay (max_votes): {fewer}"
    return "not even one vote can pay, whichever it is; signal: logprob with logprob_of: answer buys none"


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
        dear = f"all {own.votes} on every answer cost more than they can save"
        return f"{dear}; up to {own.fewer_votes} may pay (max_votes), or signal: logprob"
    return "not even one vote can pay; signal: logprob with logprob_of: answer buys none"


def payback_lines(own: BreakEven, usd: float, ends: Sequence[float] = ()) -> Iterator[str]:
    """After how many questions labelled rows are paid back, that cost `usd`, or between two ends."""
    head = f"this file costs {range_words(ends)}" if ends else f"this file costs about {money(usd)}"
    if own.least_times is not None:
        may_pay = min(own.least_times, own.least_vote_times or own.least_times) < 1
        when = "; after how many questions that is paid back hangs on the same"
        yield head + (when if may_pay else ", which routing cannot pay back as the profile stands")
        return
    earliest, likely = own.earliest_payback(usd), own.payback(usd)
    if earliest is None:
        yield f"{head}, which routing cannot pay back as the profile stands"
        return
    when = f"paid back after {likely:,} questions if" if likely is not None else "never paid back if"
    of = "of them" if likely is not None else "of questions"
    yield f"{head}: {when} {THIRD:.0%} {of} go to {own.baseline}, after {earliest:,} at the earliest"


def context_line(own: BreakEven, tokens: float | None) -> Iterator[str]:
    """From which length of context on the evidence costs more than it can save, if there is one."""
    if tokens:
        yield (
            f"with over {_two_digits(tokens):,} tokens of context they cost more than that answer where "
            f"answers have about {ANSWER_TOKENS} tokens{_context_prompts(own)}"
        )


def _context_prompts(own: BreakEven) -> str:
    return " and each vote is billed with a prompt of its own" if own.unknown_prompts else ""


def _two_digits(number: float) -> int:
    """A number to two digits.

    Example:
        >>> _two_digits(6123.4), _two_digits(87.2)
        (6100, 87)
    """
    return int(float(f"{number:.2g}"))
