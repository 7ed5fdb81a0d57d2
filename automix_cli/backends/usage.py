"""What the token counts of a reply are worth: believed, corrected, or flagged as doubtful."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from automix_cli.backends.base import Request
from automix_cli.backends.budget import most_prompt_tokens
from automix_cli.usage import Usage

_TOKEN_BYTES = 4
_LONG_TOKEN_BYTES = 5  # of plain English, of which a server's right count must not look like that of a part
_LEAST_TO_CUT = 1_000  # estimated tokens: only what is long is cut, and estimates of short texts are rough
_READ_AT_LEAST = 0.6  # of the estimated tokens; the text of no usual language has so few


_RUN_OF_BLANKS = re.compile(r"\s+")


class TokenCounts(Struct, frozen=True):
    """The token counts of a reply; None for one that is missing or impossible.

    `one_choice` is what llama.cpp says, in the `timings` of its reply, that it generated for one choice.
    """

    prompt: int | None = None
    output: int | None = None
    total: int | None = None
    cached_tokens: int | None = None
    reasoning: int | None = None
    written_tokens: int | None = None
    one_choice: int | None = None


def usage_of(counts: TokenCounts, request: Request, texts: Sequence[str]) -> tuple[Usage, bool]:
    """The usage of a request, and whether its counts are doubtful.

    Missing and impossible counts are replaced by an estimate. If the total exceeds the other
    counts by exactly the reasoning tokens, these are added to the output, as they are billed.
    Counts beyond what was sent and allowed are doubtful, and stand: they may be on the bill.
    """
    prompt, output, total = counts.prompt, counts.output, counts.total
    cached_tokens, reasoning = counts.cached_tokens or 0, counts.reasoning or 0
    written_tokens = counts.written_tokens or 0
    if (
        prompt is not None
        and output is not None
        and total
        and reasoning
        and total == prompt + output + reasoning
    ):
        output += reasoning
    suspect = (
        not prompt
        or output is None
        or cached_tokens + written_tokens > prompt
        or reasoning > output
        or total not in (prompt + output, 0)
    )
    if not prompt or output is None:
        prompt, output = prompt or estimate(prompt_text(request)), output or estimate("\n".join(texts))
    if not output and texts:  # a reply without text may truly have none
        output, suspect = estimate("\n".join(texts)), True
    suspect = suspect or prompt > request.n * most_prompt_tokens(request)
    if (limit := request.param.get("max_tokens")) is not None:
        suspect = suspect or output > request.n * int(limit)
    usage = Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_input_tokens=min(cached_tokens, prompt),
        reasoning_tokens=min(reasoning, output),
        calls=1,
        cache_write_tokens=max(0, min(written_tokens, prompt - cached_tokens)),
    )
    return usage, suspect


def count_all_choices(
    counts: TokenCounts, texts: Sequence[str], lengths: Sequence[int]
) -> TokenCounts | None:
    """The counts of a server that counted one of several completions, for all of them; None if it did not.

    llama.cpp does so. `lengths` are the numbers of tokens of the completions, 0 where the server gave
    no log-probabilities. Without them the output counts as that of one completion when the server says
    that it generated so many for one choice, or when it is nearer, as a ratio, to an equal part of what
    plain English would have than to the whole.

    Example:
        >>> count_all_choices(TokenCounts(9, 5, 14), ["five tokens of a text"] * 4, [5] * 4).output
        20
        >>> count_all_choices(TokenCounts(9, 20, 29), ["five tokens of a text"] * 4, [])
    """
    is_consistent = counts.total in (None, 0, (counts.prompt or 0) + (counts.output or 0))
    if len(texts) < 2 or not counts.output or counts.reasoning or not is_consistent:
        return None
    if len(lengths) == len(texts) and all(lengths):
        output = sum(lengths)
        if counts.output not in lengths or counts.output >= output:
            return None
    elif _is_of_one(counts, texts):
        output = counts.output * len(texts)
    else:
        return None
    return replace(counts, output=output, total=(counts.prompt or 0) + output)


def _is_of_one(counts: TokenCounts, texts: Sequence[str]) -> bool:
    """Whether the output is that of one completion: by the server's word, or by the length of the texts."""
    output = counts.output or 0
    is_short = output * math.sqrt(len(texts)) < sum(map(_length, texts)) / _LONG_TOKEN_BYTES
    return output == counts.one_choice or is_short


def _length(text: str) -> int:
    """The bytes of a text."""
    return len(text.encode("utf-8", "replace"))


def is_prompt_cut(counts: TokenCounts, request: Request) -> bool:
    """Whether a server counted far fewer prompt tokens than were sent, as one does that cuts the context.

    Ollama cuts what does not fit `num_ctx`, and says nothing. Runs of blanks count as one character here:
    tokens for indentation are long.
    """
    if sum(len(m.content) + 1 for m in request.messages) < _LEAST_TO_CUT:
        return False  # a character has four bytes at most, which are an estimated token
    text = prompt_text(request)
    if estimate(text) < _LEAST_TO_CUT:
        return False
    expected = estimate(_RUN_OF_BLANKS.sub(" ", text))
    return expected >= _LEAST_TO_CUT and 0 < (counts.prompt or 0) < _READ_AT_LEAST * expected


def split_usage(usage: Usage, k: int, texts: Sequence[str] = ()) -> Iterator[Usage]:
    """`usage` in k parts that add up to it: whole numbers, the remainder to the first, the call too.

    With `texts`, the tokens that were not spent on reasoning are split by the lengths of the texts.

    Example:
        >>> [u.output_tokens for u in split_usage(Usage(output_tokens=8, calls=1), 3)]
        [3, 3, 2]
        >>> [u.output_tokens for u in split_usage(Usage(output_tokens=8, calls=1), 2, ["no", "longer"])]
        [2, 6]
    """
    if k == 1:
        yield usage
        return
    visible = usage.output_tokens - usage.reasoning_tokens
    shares = _proportional(visible, [_length(text) for text in texts])
    for i in range(k):
        part = {name: n // k + (i < n % k) for name, n in usage.to_dict().items()}
        if shares:
            part["output_tokens"] = part["reasoning_tokens"] + shares[i]
        yield Usage(**part)


def _proportional(total: int, weights: Sequence[int]) -> list[int]:
    """A whole number in whole parts, proportional to weights up to the rounding of running sums."""
    whole, start, parts = sum(weights), 0, list[int]()
    for i in range(len(weights) if whole else 0):
        end = (2 * total * sum(weights[: i + 1]) + whole) // (2 * whole)
        parts.append(end - start)
        start = end
    return parts


def prompt_text(request: Request) -> str:
    """All that was sent, as one text."""
    return "\n".join(m.content for m in request.messages)


def estimate(text: str) -> int:
    """About how many tokens a text has, where nobody counted them: one per four bytes, at least one.

    Example:
        >>> estimate("What is 17 * 23?")
        4
    """
    return max(1, math.ceil(_length(text) / _TOKEN_BYTES))
