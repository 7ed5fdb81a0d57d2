"""The different values of codes."""

import numpy as np
import pytest

from automix_cli.pomdp.arrays import different_codes


@pytest.mark.parametrize("codes", [[], [0], [3, 3], [5, 2, 5, 2, 7], [10**12, 4, 10**12, 0], [1, -2, 1, 0]])
def test_different_codes_are_those_of_numpy_whatever_their_size(codes: list[int]) -> None:
    expected = np.unique(np.array(codes, dtype=np.intp), return_index=True, return_inverse=True)
    for own, other in zip(different_codes(np.array(codes, dtype=np.intp)), expected, strict=True):
        np.testing.assert_array_equal(own, other)
