"""Options that several commands share."""

import pytest

from automix_cli.errors import UsageError
from automix_cli.library.option_checks import check_keep


@pytest.mark.parametrize(("keep", "beside"), [(1.2, None), (1.0, "large"), (0.0, "large"), (None, "large")])
def test_a_share_to_keep_may_be_above_one_only_of_a_quality(keep: float | None, beside: str | None) -> None:
    check_keep(keep, beside)


def test_beside_a_baseline_a_share_above_one_is_no_loss() -> None:
    with pytest.raises(UsageError, match=r"--keep 1.2: beside large, .* Q is from 0 to 1"):
        check_keep(1.2, "large")
