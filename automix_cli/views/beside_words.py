"""Words where answers are compared with a baseline's: equal or different, which is not right or wrong."""

from __future__ import annotations

from automix_cli.data.traces import TraceTable
from automix_cli.texts import share_text


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


def all_alike_words(tier: str, baseline: str | None, *, right: bool, last: bool = False) -> str:
    """Say that a tier's answers are all right or all wrong, or all equal to the baseline's, and what follows.

    Args:
        tier: the one.
        baseline: whose answers are compared; None for labels.
        right: whether all are right, or equal to the baseline's.
        last: whether it is the tier that others escalate to.

    Example:
        >>> all_alike_words("small", "large", right=False)
        'small differs from large on every row: nothing that it answers can be kept'
    """
    if baseline is not None:
        if right:
            return f"{tier} answers as {baseline} does on every row: these rows cannot show when it would not"
        return f"{tier} differs from {baseline} on every row: nothing that it answers can be kept"
    if right and last:
        return (
            f"{tier} is right on every row: escalating to it never fails here, as it may on harder questions"
        )
    if right:
        return f"{tier} is right on every row, so nothing shows when to escalate: add rows that it gets wrong"
    what = "escalating to it never helps" if last else "nothing that it answers can be kept"
    return f'{tier} is wrong on every row: {what}; if that surprises you, look at "expected" and task.scorer'


WEAK_AUROC = 0.55  # below it a verifier is hardly worth looking at; below 1 less it, it is inverted


def weak_verifier_words(tier: str, auroc: float, baseline: str | None) -> str:
    """Say that a verifier tells hardly anything, or the wrong way round: the worse answers have more of it.

    Example:
        >>> weak_verifier_words("small", 0.51, None)
        'small: its verifier hardly tells right from wrong (AUROC 0.51)'
        >>> weak_verifier_words("small", 0.01, None)
        'small: its verifier is inverted: the surer it is, the more often an answer is wrong (AUROC 0.01)'
    """
    figure = f"(AUROC {share_text(auroc, '.2f')})"
    if auroc <= 1 - WEAK_AUROC:
        often = "is wrong" if baseline is None else f"differs from {baseline}'s"
        return f"{tier}: its verifier is inverted: the surer it is, the more often an answer {often} {figure}"
    what = "right from wrong" if baseline is None else f"answers equal to {baseline}'s from others"
    return f"{tier}: its verifier hardly tells {what} {figure}"


def worse_words(later: str, earlier: str, baseline: str | None, *, costs_more: bool = True) -> str:
    """Say that a tier is worse than one before it, or equal to the baseline less often, and dearer if it is.

    Example:
        >>> worse_words("mid", "small", "large")
        'mid costs more than small and agrees less with large on these rows'
        >>> worse_words("mid", "small", None, costs_more=False)
        'mid comes after small and is worse on these rows'
    """
    worse = "is worse" if baseline is None else f"agrees less with {baseline}"
    return f"{later} {'costs more than' if costs_more else 'comes after'} {earlier} and {worse} on these rows"


def measure_words(text: str, table: TraceTable) -> str:
    """A text about quality; where no row has a label, about agreement with the baseline, which it names."""
    baseline = table.beside
    if baseline is None:
        return text
    if table.has_some_labels:
        return text.replace("mean score", f"1 and the mean difference in score from {baseline}, by labels")
    return agreement_words(text, baseline)


def agreement_words(text: str, baseline: str) -> str:
    """A text about quality, about agreement with a baseline.

    Example:
        >>> agreement_words("share of the best tier's quality that this setting reaches", "large")
        'agreement with large that this setting reaches'
    """
    for own, other in _AGREEMENT_WORDS:
        text = text.replace(own, other.format(baseline=baseline))
    return text


_AGREEMENT_WORDS = (
    ("share of the best tier's quality", "agreement with {baseline}"),
    ("no setting reached", "no setting gave answers equal to {baseline}'s on"),
    ("the setting that kept", "the setting whose answers were equal to {baseline}'s on"),
    (" of the best tier in training", " of the rows in training"),
    ("Share of right answers", "Share of answers equal to {baseline}'s"),
    (
        "a right answer has a higher confidence than a wrong one",
        "an answer equal to {baseline}'s has a higher confidence than another",
    ),
    ("the answer is right", "the answer is equal to {baseline}'s"),
    ("answers are right", "answers are equal to {baseline}'s"),
    ("mean score", "share of answers equal to {baseline}'s"),
    ("raised the score", "led to an answer equal to {baseline}'s"),
    ("lowered the score", "led away from an answer equal to {baseline}'s"),
    ("helped and hurt", "gained and lost agreement"),
    ("helped", "gained"),
    ("hurt", "lost"),
    ("to the score", "to the agreement with {baseline}"),
    ("the best tier", "{baseline}"),
    ("is not better than", "agrees no more than"),
    ("share right", "share equal"),
    ("right with", "equal with"),
    (" right", " equal"),
    ("quality points", "points of agreement"),
    ("quality gap", "gap in agreement"),
    ("quality", "agreement"),
)
"""Words about quality, and what stands for them; longer ones first."""
