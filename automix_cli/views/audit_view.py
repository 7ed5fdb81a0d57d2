"""An audit as text and as JSON. Nothing here prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from automix_cli.data.answer_rows import AnswerRow
from automix_cli.evaluation.audit import ALPHA, WINDOW, Audit, AuditSavings, AuditWindow, Loss
from automix_cli.records import Json
from automix_cli.texts import count_of, per_cent
from automix_cli.views.lines import money, one_line

AUDIT_SCHEMA = "automix.audit/1"

_MOST_IDS = 10
_MOST_WINDOWS = 5
_MOSTLY = 0.5  # of the rows differ: the bound says little

_SURE = f"{100 * (1 - ALPHA):.0f} %, at every look"


def audit_lines(result: Audit) -> list[str]:
    """What an audit says, in sentences: the share of differing rows comes first."""
    return [
        *_difference_lines(result),
        *_window_lines(result),
        *_loss_lines(result),
        *_warning_lines(result),
        _savings_line(result),
        *_drift_lines(result),
        *_label_lines(result),
        *_remark_lines(result),
    ]


# ---------------------------------------------------------------- what is lost


def _difference_lines(result: Audit) -> Iterator[str]:
    """The share of rows whose answer differs, and what follows from it."""
    number, window = _main_window(result)
    bounds, baseline = window.bounds, result.baseline
    share = "" if bounds.share is None else f" ({percent(bounds.share)})"
    where = "" if len(result.windows) == 1 else f" in window {number}"
    yield (
        f"{bounds.k:,} of {count_of(bounds.n, 'row')} compared{where} differ from {baseline}{share}: "
        f"at most {percent(window.most)} of {_all_rows(result)} do ({_SURE}){_missing_words(window)}"
    )
    yield (
        f"so at most {100 * window.most:.1f} points are lost against {baseline}, whatever is right "
        f"({bounds.n:,} compared)"
    )
    if bounds.share is not None and bounds.share > _MOSTLY:
        yield (
            "most answers differ in their words, which need not be their meaning: this bound says little, "
            "scores of differing rows say more"
        )


def _all_rows(result: Audit) -> str:
    """The rows that a bound is of: those of files without a comparison are not among them."""
    if not result.files_left_out:
        return "all rows"
    return f"all rows but those of {', '.join(result.files_left_out)}, none of which was compared,"


def _missing_words(window: AuditWindow) -> str:
    """Say how the bound counts rows whose shadow call failed."""
    if not window.missing:
        return ""
    calls = count_of(window.missing, "failed shadow call")
    return f", with {calls} counted as differing"


def _main_window(result: Audit) -> tuple[int, AuditWindow]:
    """The window that is spoken of, and its number: the last one, or before that is full the one before."""
    count = len(result.windows)
    number = count if count == 1 or result.windows[-1].bounds.n == WINDOW else count - 1
    return number, result.windows[number - 1]


def _window_lines(result: Audit) -> Iterator[str]:
    """A line a window, where there are several; the last ones only."""
    if len(result.windows) == 1:
        return
    skip = max(0, len(result.windows) - _MOST_WINDOWS)
    if skip:
        yield f"  {count_of(skip, 'earlier window')} not shown: --json has all"
    for number, window in enumerate(result.windows[skip:], skip + 1):
        b = window.bounds
        yield f"  window {number}: {b.k:,} of {b.n:,} differ, {percent(b.low)} to {percent(window.most)}"


def _loss_lines(result: Audit) -> Iterator[str]:
    _, window = _main_window(result)
    if (loss := window.loss) is None:
        return
    words = f"{loss.with_scores:,} of {count_of(loss.differing, 'differing row')} scored"
    if loss.with_scores < loss.differing:
        words += ", the others may all be lost, or won"
    if window.missing:
        words += f", {count_of(window.missing, 'failed shadow call')} likewise"
    yield (
        f"by their scores {100 * loss.low:+.1f} to {100 * loss.high:+.1f} points are lost "
        f"(each end {_SURE}; {window.bounds.n:,} compared, {words})"
    )


def _warning_lines(result: Audit) -> Iterator[str]:
    """Where more rows differ than when fitted."""
    shares = None if result.fit is None else result.fit.differing
    for number, window in enumerate(result.windows, 1):
        if window.warning_at is None or shares is None:
            continue
        b, (hits, cases) = window.bounds, shares
        where = f" in window {number}" if len(result.windows) > 1 else ""
        yield (
            f"WARNING: more rows differ from {result.baseline} than when fitted, since comparison "
            f"{window.warning_at:,}{where}: {b.k:,} of {b.n:,}, at least {percent(b.low)}; then "
            f"{percent(hits / cases)} of {count_of(round(cases), 'question')}: label them, calibrate again"
        )


# ---------------------------------------------------------------- what is saved


def _savings_line(result: Audit) -> str:
    """Dollars below the baseline, net of everything."""
    s, saving = result.savings, result.savings.saving
    if saving is None or s.baseline is None:
        return f"what is saved against {result.baseline} is unknown: a price is"
    verb, amount = ("saved", saving) if saving >= 0 else ("NOT saved, but added,", -saving)
    share = f", {percent(abs(saving) / s.baseline)}" if s.baseline > 0 else ""
    margin = f" ± {money(s.error)}" if s.error else "" if s.error == 0 else " (± unknown: too few drawn)"
    then = result.fit.saving if result.fit is not None else None
    fitted = "" if then is None else f"; {percent(then)} without shadow calls when fitted"
    return (
        f"{verb} {money(amount)}{margin} of {money(s.baseline)} that {result.baseline} alone would have cost "
        f"on {count_of(result.rows, 'row')}{share}, net of votes and of {money(s.shadow)} for shadow calls"
        f"{_estimate_words(result, s)}{fitted}"
    )


def _estimate_words(result: Audit, savings: AuditSavings) -> str:
    if not savings.estimated_rows:
        return ""
    return f" (its cost on {savings.estimated_rows:,} rows at the mean of those drawn)"


# ---------------------------------------------------------------- what changed, what to do


def _drift_lines(result: Audit) -> Iterator[str]:
    if result.drifts is None:
        yield "votes and escalations are not compared: the profile that wrote these rows is not at hand"
        return
    if not ((result.fit and result.fit.router.get("fitted")) or {}).get("rates"):
        yield "votes and escalations are not compared: the profile holds none to compare with"
    elif not result.drifts:
        yield "votes and escalations look as they did when fitted"
    for drift in result.drifts:
        yield f"WARNING: {drift.text()}"


def _label_lines(result: Audit) -> Iterator[str]:
    if not result.to_label:
        return
    ids = [one_line(str(row.question.id), 40) for row in result.to_label[:_MOST_IDS]]
    others = len(result.to_label) - len(ids)
    rest = f" and {others:,} more (-o FILE writes them all)" if others else ""
    yield f"to label, because only they can tell what is lost: {', '.join(ids)}{rest}"


def _remark_lines(result: Audit) -> Iterator[str]:
    mute = sum(window.without_answer for window in result.windows)
    if mute:
        yield f"{result.baseline} had no answer to {count_of(mute, 'row')} compared: nothing is lost there"
    if result.missing:
        calls = count_of(result.missing, "shadow call")
        yield f"{calls} failed, and each may hide an answer that differs: ask --resume makes them again"
    if result.omissions:
        others = count_of(result.omissions, "row")
        yield (
            f"{others} that --shadow draws were not compared: some rows were answered without it, and the "
            "bound says nothing of them"
        )
    if result.incomplete:
        yield f"{count_of(result.incomplete, 'row')} left out: errors, or skipped"
    if result.repeats:
        yield f"{count_of(result.repeats, 'row')} left out: the same id and question as an earlier one"
    if len(result.profiles) > 1:
        yield f"{len(result.profiles)} profiles wrote these rows: the figures are a mean over them"


def percent(share: float) -> str:
    """A share for people.

    Example:
        >>> percent(0.0123), percent(0.61)
        ('1.2 %', '61.0 %')
    """
    return per_cent(share, 1)


# ---------------------------------------------------------------- JSON


def audit_dict(result: Audit) -> dict[str, Json]:
    """An audit as plain values."""
    savings, fit = result.savings, result.fit
    return {
        "schema": AUDIT_SCHEMA,
        "baseline": result.baseline,
        "rows": result.rows,
        "incomplete": result.incomplete,
        "repeats": result.repeats,
        "compared": result.comparisons,
        "missing": result.missing,
        "files_left_out": list(result.files_left_out),
        "omissions": result.omissions,
        "alpha": ALPHA,
        "windows": [_window_dict(window) for window in result.windows],
        "savings": {**savings._asdict(), "saving": savings.saving},
        "fit": None if fit is None else {"differing": fit.differing, "saving": fit.saving},
        "drifts": None if result.drifts is None else [drift._asdict() for drift in result.drifts],
        "warning": result.has_warning,
        "to_label": [row.question.id for row in result.to_label],
        "profiles": list(result.profiles),
    }


def _window_dict(window: AuditWindow) -> dict[str, Any]:
    bounds, loss = window.bounds, window.loss
    return {
        "n": bounds.n,
        "differing": bounds.k,
        "low": bounds.low,
        "high": window.most,
        "missing": window.missing,
        "without_answer": window.without_answer,
        "loss": None if loss is None else Loss._asdict(loss),
        "warning_at": window.warning_at,
    }


def label_row(row: AnswerRow, baseline: str) -> dict[str, Json]:
    """A row to label, with the answers of both tiers, as a trace row."""
    comparison = row.comparison
    answers = {row.tier: row.answer, baseline: comparison and comparison.answer}
    return {
        **row.question.to_dict(),
        "tiers": {name: {"answer": answer} for name, answer in answers.items() if name is not None},
        "drawn": "chosen",  # by the answers, which differ: such rows say nothing of all rows
        "inclusion": comparison and comparison.share,
    }
