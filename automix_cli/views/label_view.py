"""What `automix label` says: before the rows, of each row, and of what the labels settle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from automix_cli.data.label_cards import AnswerCard
from automix_cli.data.label_draw import LabelDraw
from automix_cli.evaluation.label_plan import LabelPlan, LossSoFar
from automix_cli.evaluation.loss import LossAgainst
from automix_cli.evaluation.sequences import share_bounds
from automix_cli.texts import count_of, is_blank, per_cent
from automix_cli.views.cells import bounds_texts
from automix_cli.views.loss_words import loss_bounds_words, loss_words
from automix_cli.views.verdict_words import skipped_words

ANSWER_KEYS = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The keys of answers."""

LABEL_SCHEMA = "automix.label/1"

_MOST_DIFFERING = 0.5  # of the rows, above which hardly any label is spared
_LONGEST = 12  # lines of a context or answer that are shown at first


def settles_nothing(plan: LabelPlan) -> bool:
    """Whether no label can change the loss of any policy: on rows without one no answer differs."""
    return plan.most_open == 0


def nothing_lines(plan: LabelPlan, name: str) -> Iterator[str]:
    """Say that nothing is left to settle.

    Args:
        plan: the rows, and what a policy reports.
        name: of the file that is not written; "" for none.
    """
    yield _differing_line(plan)
    no_file = f"; {name} is not written" if name else ""
    yield (
        f"nothing to settle: labels change the loss against {plan.table.beside} on these rows by at most "
        f"{points(plan.most_open)} points{no_file}"
    )
    yield "no answer differs on a row without a label; -n N draws rows all the same"


def plan_lines(
    plan: LabelPlan, draw: LabelDraw, scorer: str, name: str, n_asked: int | None = None
) -> Iterator[str]:
    """Say on how many rows a label can change the loss, which rows are drawn, and why they are fewer."""
    yield _differing_line(plan)
    if plan.differing[0] > _MOST_DIFFERING:
        yield (
            f"note: only answers with equal canonical forms ({scorer}) are equal, and most differ here: "
            "labels of chosen rows cannot save much"
        )
    if settles_nothing(plan):
        yield (
            "note: no answer differs on a row without a label: labels would not change the loss, "
            "and only tell how often each tier is right"
        )
    parts = f"{len(draw.by_weight):,} chosen by what they tell, {len(draw.random):,} drawn from all rows"
    if both := len(draw.by_weight) + len(draw.random) - len(draw.order):
        parts += f", {both:,} of them both"
    of = "" if n_asked is None or n_asked <= len(draw.order) else f" of the {n_asked:,} asked for"
    yield f"{count_of(len(draw.order), 'row')} to label{of}{name and f' in {name}'}: {parts}"
    if of:
        yield _fewer_words(both, n_asked or 0, draw)


def _fewer_words(both: int, n_asked: int, draw: LabelDraw) -> str:
    """Say why fewer rows are drawn than were asked for."""
    reasons = []
    if both:
        reasons.append(f"{both:,} are in both parts and are labelled once")
    if lacking := n_asked - len(draw.by_weight) - len(draw.random):
        reasons.append(f"for {lacking:,} no further row is there that tells anything")
    return f"note: {len(draw.order):,} in place of {n_asked:,}: {', and '.join(reasons)}"


def _differing_line(plan: LabelPlan) -> str:
    """Say on how many rows answers differ, and on how many such answers are reported."""
    share, n = plan.differing[0], len(plan.table)
    head = f"answers differ on {round(share * n):,} of {n:,} rows ({per_cent(share, 1)})"
    return f"{head}; {_reports_words(plan) if share else 'nothing can be lost on these rows'}"


def _reports_words(plan: LabelPlan) -> str:
    """Say which policy the rows are drawn for, and how many of its answers differ."""
    baseline, both = plan.table.beside, f"{per_cent(plan.differing[1], 1)} are reported and differ"
    every = f"every answer beside {baseline}'s counts as reported"
    if plan.run is None and not plan.takes_every_answer:
        return f"{every}, since no policy can be fitted ({plan.why_no_run})"
    if plan.run is not None and plan.keep is None:
        return f"{both} from {baseline}"
    alone = (
        f"without labels {baseline} alone is chosen: labels cannot change its loss, "
        "and may allow a cheaper policy"
    )
    if plan.keep is None:
        return f"{alone}; as none could be fitted, {every}"
    return f"{alone}; rows are drawn for that of --keep {plan.keep:g}, by which {both}"


def labelled_policy(plan: LabelPlan) -> str:
    """The policy whose loss the labels tell; "" for the one that was asked for.

    Where it is another, a loss must not be taken for that of what `calibrate` chooses.
    """
    if plan.keep is not None:
        return f"the policy of --keep {plan.keep:g}"
    if plan.run is not None:
        return ""
    return "every other answer"  # without names: who labels must not learn whose answer is whose


# ---------------------------------------------------------------- one row


class CardText(NamedTuple):
    """A row as it is shown: its question, its context, and its answers with their keys."""

    question: str
    context: str
    answers: tuple[tuple[str, str], ...]
    is_whole: bool


def card_text(card: AnswerCard, *, whole: bool) -> CardText:
    """The texts of a card; long ones are cut unless `whole`."""
    history = "".join(f"{m.role}: {m.content}\n" for m in card.question.history)
    question = f"{history}{card.question.text or f'(no question recorded; id {card.question.id})'}"
    choices = "".join(f"\n  {choice}" for choice in card.question.choices)
    context = card.question.context or ""
    texts = [context, *(answer.text for answer in card.answers)]
    parts = texts if whole else [_cut(text) for text in texts]
    answers = tuple(zip(ANSWER_KEYS, map(_visible, parts[1:]), strict=False))
    return CardText(f"{question}{choices}", parts[0], answers, parts == texts)


def _visible(text: str) -> str:
    """An answer that shows nothing, in words."""
    return "(an empty answer)" if is_blank(text) else text


def _cut(text: str) -> str:
    """The first lines of a text."""
    lines = text.split("\n")
    head = "\n".join(lines[:_LONGEST])[: 80 * _LONGEST]
    return text if head == text else f"{head} …"


def keys_line(n_answers: int, *, whole: bool) -> str:
    """Say what the keys mean.

    Example:
        >>> keys_line(2, whole=True)
        '1 first right · 2 second right · b both · n none · s skip · u undo · q quit'
    """
    own = {
        0: "n none right",
        1: "1 right · n wrong",
        2: "1 first right · 2 second right · b both · n none",
    }.get(
        n_answers,
        f"1-{ANSWER_KEYS[min(n_answers, len(ANSWER_KEYS)) - 1]} mark right ones, Enter · b all · n none",
    )
    return f"{own} · s skip · u undo{'' if whole else ' · v view all'} · q quit"


# ---------------------------------------------------------------- what labels settle


def points(share: float) -> str:
    """Write a difference in points.

    Example:
        >>> points(-0.0123), points(0.00001)
        ('-1.2', '0.0')
    """
    text = f"{100 * share:.1f}"
    return "0.0" if text == "-0.0" else text


def progress_line(n_done: int, n: int, n_rows: int, baseline: str, loss: LossSoFar, policy: str = "") -> str:
    """Say how far the labels are, and what they settle of the loss of a policy on the rows of the file."""
    so_far = "" if loss.bounds.low == loss.bounds.high else "so far "
    own = f"{so_far}on {_these_rows(n_rows)}, {_so_far_words(loss, baseline, policy)}"
    after = "" if loss.next_step is None else _next_words(loss)
    width = points(loss.at_end)
    at_end = f"all {n} settle it" if width == "0.0" else f"all {n}: ± {width} points"
    if n_done >= n and width == "0.0":
        return f"{n_done} of {n} · {own}{after}"
    return f"{n_done} of {n} · {own}; {at_end}{after}"


def _next_words(loss: LossSoFar) -> str:
    step = loss.next_step
    assert step is not None
    return f"; {count_of(step.labels, 'label')} more than that: ± {100 * step.width:g}"


class LabelOutcome(NamedTuple):
    """Where a file of rows to label stands.

    Attributes:
        baseline: the tier that answers are compared with.
        n_rows: of the file that they were drawn from.
        n: rows to label.
        n_labelled: those with a label.
        n_skipped: those that somebody could not tell.
        so_far: what labels settle of the loss on the rows of the file.
        loss: on new questions; None where no policy could be fitted.
        right: per tier, on how many rows of the random part it is right, and of how many.
        command: what uses the labels.
        policy: whose loss it is; "" for the one that was asked for.
    """

    baseline: str
    n_rows: int
    n: int
    n_labelled: int
    n_skipped: int
    so_far: LossSoFar
    loss: LossAgainst | None
    right: dict[str, tuple[int, int]]
    command: str
    policy: str = ""


def outcome_lines(outcome: LabelOutcome) -> Iterator[str]:
    """Say what the labels of a file settle."""
    skips = f", {outcome.n_skipped:,} skipped" if outcome.n_skipped else ""
    yield f"{outcome.n_labelled:,} of {count_of(outcome.n, 'row')} labelled{skips}"
    if outcome.n_labelled:
        words = _so_far_words(outcome.so_far, outcome.baseline, outcome.policy)
        yield f"on {_these_rows(outcome.n_rows)}: {words}"
        if outcome.loss is not None:
            yield f"on new questions: {_new_questions(outcome)}"
        yield "calibrate fits with the labels, and tells the loss of the policy that it then chooses"
        yield from _right_lines(outcome)
        yield f"use the labels: {outcome.command}"


def _so_far_words(loss: LossSoFar, baseline: str, policy: str) -> str:
    """Say what a policy loses, with the interval, or why there is no estimate."""
    low, high = loss.bounds
    subject = policy or "the policy"
    if low == high:
        exactly = f"{loss_words(low)} against {baseline}"
        return f"{subject} {exactly} exactly, since every row that can change it has a label"
    if loss.value is not None:
        bounds = loss_bounds_words(low, high, loss.value)
        return f"{subject} {loss_words(loss.value)} against {baseline} (95 % at every look: {bounds} points)"
    few = f"{count_of(loss.n_skipped, 'row')} {_was(loss.n_skipped)} skipped" if loss.n_skipped else ""
    if few and points(low) == points(high):
        return f"{subject} {loss_words(high)} against {baseline}, though {few}: hardly anything hangs on that"
    why = f"since {few}" if few else "too few labels"
    bounds = loss_bounds_words(low, high)
    return f"{subject} against {baseline}: no estimate, {why}; it is {bounds} points (95 % at every look)"


def _was(n: int) -> str:
    return "was" if n == 1 else "were"


def _these_rows(n: int) -> str:
    return f"these {n:,} rows" if n > 1 else "this row"


def _new_questions(outcome: LabelOutcome) -> str:
    loss = outcome.loss
    assert loss is not None
    most = f"at most {points(loss.most)} points (95 %), by the share that differs"
    if loss.by_labels is None:
        return f"{most}; {loss_reason(loss)}"
    value, low, high = loss.by_labels
    when = "fixed before" if loss.look == 1 else f"fixed anew, look {loss.look}"
    every, differing = loss.labels
    labels = f"{count_of(every, 'label')}, {differing:,} where answers differ"
    return (
        f"it {loss_words(value)} (95 %: {loss_bounds_words(low, high, value)}; by {labels}, "
        f"their number {when}{skipped_words(loss)})"
    )


def loss_reason(loss: LossAgainst) -> str:
    """Say why labels give no estimate of a loss."""
    if loss.n_skipped:
        verb = "has" if loss.n_skipped == 1 else "have"
        return f"no estimate, since {count_of(loss.n_skipped, 'row')} to label {verb} no label"
    return "too few labels for an estimate"


def _right_lines(outcome: LabelOutcome) -> Iterator[str]:
    parts = []
    for tier, (k, n) in outcome.right.items():
        if n:
            bounds = share_bounds(k, n)
            low, high = (text.removesuffix("%") for text in bounds_texts(bounds.low, bounds.high, ".0%"))
            parts.append(f"{tier} on {k} of {n} (95 %: {low} to {high} %)")
    if parts:
        yield f"right on rows drawn from all: {', '.join(parts)}"


def settled_dict(plan: LabelPlan) -> dict[str, Any]:
    """What is said where nothing is left to settle, as plain values: no row is drawn."""
    return {
        "schema": LABEL_SCHEMA,
        "baseline": plan.table.beside,
        "rows": len(plan.table),
        "to_label": 0,
        "labelled": 0,
        "skipped": 0,
        "most_points_open": 100 * plan.most_open,
    }


def outcome_dict(outcome: LabelOutcome) -> dict[str, Any]:
    """The same as plain values, losses in points."""
    so_far, loss = outcome.so_far, outcome.loss
    by_labels = None if loss is None or loss.by_labels is None else [100 * x for x in loss.by_labels]
    step = so_far.next_step
    return {
        "schema": LABEL_SCHEMA,
        "baseline": outcome.baseline,
        "policy": outcome.policy or None,
        "rows": outcome.n_rows,
        "to_label": outcome.n,
        "labelled": outcome.n_labelled,
        "skipped": outcome.n_skipped,
        "loss_points": None if so_far.value is None else 100 * so_far.value,
        "loss_at_every_look": [100 * x for x in so_far.bounds],
        "most_points_on_new": None if loss is None else 100 * loss.most,
        "loss_on_new": by_labels,
        "next": None if step is None else {"labels": step.labels, "points": 100 * step.width},
        "right_at_random": {tier: list(counts) for tier, counts in outcome.right.items()},
    }
