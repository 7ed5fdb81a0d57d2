"""What is said where another scorer finds answers right that the task's own finds wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automix_cli.scoring.comparison import OtherScorer
from automix_cli.texts import count_of, share_text
from automix_cli.views.lines import one_line

_MOST_LETTERS = 60  # letters of a label or an answer


def scorer_lines(finding: OtherScorer) -> Iterator[str]:
    """Say how far the scorers differ, with one example, and how the other one is asked for.

    Neither is known to be right, and so neither is called that.
    """
    tier = finding.tier
    answers = f"{count_of(finding.answers[tier], 'answer')} of {tier}"
    yield (
        f"note: scorer {finding.own} finds {finding.own_right[tier]:,} of {answers} right, "
        f"and {finding.other} finds {finding.other_right[tier]:,} of them right"
    )
    own, other = (_qualities(finding, right) for right in (finding.own_right, finding.other_right))
    yield f"  quality by {finding.own}: {own}; by {finding.other}: {other}"
    label = one_line(finding.example.expected[0], _MOST_LETTERS)
    yield f'  for instance the label "{label}" and the answer "{without_middle(finding.example.text)}"'
    yield (
        "  which of them fits is for you to say: "
        f"task: {{scorer: {finding.other}}} in the profile judges by {finding.other}"
    )


def _qualities(finding: OtherScorer, right: Mapping[str, int]) -> str:
    return ", ".join(f"{tier} {share_text(right[tier] / n, '.0%')}" for tier, n in finding.answers.items())


def without_middle(text: str) -> str:
    """A text on one line; of a long one the beginning and, where answers stand, the end.

    Example:
        >>> without_middle("Answer: 125"), without_middle("step by step, " * 9 + "Answer: 125")
        ('Answer: 125', 'step by step, step by … step by step, Answer: 125')
    """
    flat = one_line(text, len(text) * 8 + 1)
    if len(flat) <= _MOST_LETTERS:
        return flat
    head, tail = flat[: _MOST_LETTERS // 2 - 3], flat[-(_MOST_LETTERS // 2 - 3) :]
    return f"{head.rsplit(' ', 1)[0]} … {tail.split(' ', 1)[-1]}"
