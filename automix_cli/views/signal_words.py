"""The comparison of the signals that rows hold, in words and as plain values."""

from __future__ import annotations

from typing import Any

from automix_cli.evaluation.signal_choice import SignalComparison, cost_rank


def signal_words(comparison: SignalComparison) -> str:
    """Which signal was chosen, and what the plan gains with it and with each of the others.

    Example:
        >>> gains = {"none": 0.0, "confidence": 1.532, "conf_logit": 2.41}
        >>> signal_words(SignalComparison("conf_logit", gains, {"none": (2.41, 0.2), "confidence": (0.878, 0.1)}))
        'signal: conf_logit, +0.88 ± 0.10 points above confidence (cross-fitted gain area: none +0.00, confidence +1.53, conf_logit +2.41)'
    """  # noqa: E501
    if not comparison.gains:
        return f"signal: {comparison.name}; there was nothing to compare, or too few questions"
    each = ", ".join(f"{name} {gain:+.2f}" for name, gain in comparison.gains.items())
    other = comparison.best_other
    points, error = comparison.above[other]
    points = 0.0 if round(points, 2) == 0 else points  # never -0.00
    lead = f"{points:+.2f} ± {error:.2f} points above {other}"
    if points <= 0 and cost_rank(comparison.name) < cost_rank(other):
        lead = f"the cheaper of two that are as good: {lead}"
    return f"signal: {comparison.name}, {lead} (cross-fitted gain area: {each})"


def signal_dict(comparison: SignalComparison) -> dict[str, Any]:
    """The same as plain values, in quality points."""
    above = {name: {"points": points, "error": error} for name, (points, error) in comparison.above.items()}
    return {"name": comparison.name, "gain_area": dict(comparison.gains), "above": above}
