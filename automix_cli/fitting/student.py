"""Quantiles of Student's distribution, for means of few values."""

from __future__ import annotations

from statistics import NormalDist


def student_quantile(share: float, freedom: float) -> float:
    """A quantile of Student's t, to the second order in one over its degrees of freedom.

    Example:
        >>> round(student_quantile(0.975, 10), 2), round(student_quantile(0.975, 1e9), 2)
        (2.23, 1.96)
    """
    z = NormalDist().inv_cdf(share)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2
