"""The error that a command ends with, for a row that none can follow."""

from __future__ import annotations

from collections.abc import Iterable

from automix_cli.errors import AutomixError, BudgetError
from automix_cli.records import RowError
from automix_cli.views.lines import money

_REFUSED_AT_ONCE = ("auth", "model")
"""A key or a model's name that is wrong is as good as a wrong profile, as long as nothing was spent."""


def stop_error(errors: Iterable[RowError], spent_usd: float | None) -> AutomixError | None:
    """The error that ended a run; None where none did.

    Of several the one of a call that was really made: the others were not asked because of it.
    """
    fatal = sorted(errors, key=lambda error: not error.attempts)
    return error_of_row(fatal[0], spent_usd, "stopped: ") if fatal else None


def error_of_row(error: RowError, spent_usd: float | None, prefix: str) -> AutomixError:
    """The error of a row, as a command reports it; `spent_usd` is None where a price is unknown.

    Example:
        >>> error = RowError(type="auth", message="401", hint="check the key")
        >>> [error_of_row(error, spent, "").exit_code for spent in (0.0, 0.25, None)]
        [2, 1, 1]
        >>> error_of_row(RowError(type="budget", message="could exceed --max-cost $1"), 0.92, "").message
        'could exceed --max-cost $1 ($0.92 is spent)'
    """
    kind = BudgetError if error.type == "budget" else AutomixError
    is_known = error.type == "budget" and spent_usd is not None
    bill = f" ({money(spent_usd)} is spent)" if is_known else ""
    result = kind(f"{prefix}{error.message}{bill}", hint=error.hint)
    if error.type in _REFUSED_AT_ONCE and spent_usd == 0:
        result.exit_code = 2
    return result
