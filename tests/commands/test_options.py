"""Options that several commands share."""

import pytest
from typer.testing import CliRunner

from automix_cli.cli import app
from automix_cli.errors import UsageError
from automix_cli.library.option_checks import check_keep


@pytest.mark.parametrize(("keep", "beside"), [(1.2, None), (1.0, "large"), (0.0, "large"), (None, "large")])
def test_a_share_to_keep_may_be_above_one_only_of_a_quality(keep: float | None, beside: str | None) -> None:
    check_keep(keep, beside)


def test_beside_a_baseline_a_share_above_one_is_no_loss() -> None:
    with pytest.raises(UsageError, match=r"--keep 1.2: beside large, .* Q is from 0 to 1"):
        check_keep(1.2, "large")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("ask --overwrite", "--force"),
        ("calibrate --overwrite", "--force"),
        ("profile init --overwrite", "--output"),
        ("ask --budget", "--max-cost"),
        ("ask --outptu", "--output"),
    ],
)
def test_a_name_that_is_guessed_leads_to_the_option_that_is_meant(words: str, option: str) -> None:
    ran = CliRunner().invoke(app, words.split())
    assert ran.exit_code == 2
    assert f"No such option: {words.split()[-1]} (Possible options: {option})" in ran.stderr


def test_where_a_command_has_no_such_option_none_is_named() -> None:
    ran = CliRunner().invoke(app, ["serve", "--overwrite"])
    assert "Possible options" not in ran.stderr
