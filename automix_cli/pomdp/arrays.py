"""The array types that the whole package shares, and the different values of an array of codes."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.intp]
Bools: TypeAlias = NDArray[np.bool_]


class DifferentCodes(NamedTuple):
    """The K different values of n codes.

    Attributes:
        values: K, rising.
        first: K, the place where each stands first.
        of_each: n, which of them each code is.
    """

    values: Ints
    first: Ints
    of_each: Ints


def different_codes(codes: Ints) -> DifferentCodes:
    """Find the different values of codes, as `np.unique` does; small ones from 0 on need no sorting.

    Example:
        >>> different_codes(np.array([5, 2, 5, 2, 7]))
        DifferentCodes(values=array([2, 5, 7]), first=array([1, 0, 4]), of_each=array([1, 0, 1, 0, 2]))
    """
    n = len(codes)
    if int(codes.max(initial=0)) > 4 * n or int(codes.min(initial=0)) < 0:
        values, first, of_each = np.unique(codes, return_index=True, return_inverse=True)
        return DifferentCodes(values.astype(np.intp), first.astype(np.intp), of_each.astype(np.intp))
    places = np.full(int(codes.max(initial=-1)) + 1, n)
    places[codes[::-1]] = np.arange(n)[::-1]  # of equal codes the last one written stays: the first
    is_present = places < n
    values = np.flatnonzero(is_present)
    return DifferentCodes(values, places[values], (np.cumsum(is_present) - 1)[codes])
