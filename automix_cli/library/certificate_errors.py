"""Why a promise cannot be proved on so many rows, and what would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automix_cli.errors import GateError
from automix_cli.texts import count_of

if TYPE_CHECKING:
    from automix_cli.data.groups import Grouping
    from automix_cli.evaluation.certificate import Certificate

_USUAL_KEEPS = (0.99, 0.98, 0.97, 0.95, 0.9, 0.8)


def check_certificate(grouping: Grouping, keep: float, confidence: float) -> None:
    """Refuse a promise that so many questions cannot prove, before anything is spent on it.

    What is refused cannot be proved without luck: only a policy that is better than the best tier
    could. To keep all of its quality or more takes such a policy, and no number of questions.

    Raises:
        GateError: naming how many questions it takes, and a share of quality that these may prove.
    """
    from automix_cli.evaluation.certificate import questions_needed

    if keep >= 1:
        return
    fewest, questions = questions_needed(keep, confidence), len(grouping)
    if questions >= fewest:
        return
    least = {share: questions_needed(share, confidence) for share in _USUAL_KEEPS if share < keep}
    smaller = next((f"; --keep {share:g} takes {n:,}" for share, n in least.items() if n <= questions), "")
    raise GateError(
        f"{count_of(questions, grouping.noun)} cannot certify --keep {keep:g} with probability "
        f"{100 * confidence:g} %, even if routing always answered as well as the best tier: "
        f"at least {fewest:,} are needed",
        hint=f"nothing was sent; label more questions{smaller}",
    )


def no_certificate(proof: Certificate, grouping: Grouping) -> GateError:
    """The error of a calibration in which no policy but the best single tier could be promised."""
    noun = grouping.noun if proof.beside else f"labelled {grouping.noun}"
    promise = f"keep {100 * proof.keep:g} % of the quality of {proof.best}"
    if proof.beside:
        promise = f"lose at most {proof.most_points:g} points against {proof.best}"
    return GateError(
        f"no routed policy can be promised to {promise} with probability "
        f"{100 * proof.confidence:g} % on {count_of(len(grouping), noun)}",
        hint=f"about {proof.labels:,} {noun}s would likely do; nothing was written",
    )
