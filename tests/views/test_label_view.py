"""What `automix label` says of labels, in words."""

import numpy as np
import pytest

from automix_cli.data.label_cards import AnswerCard
from automix_cli.data.label_draw import draw_labels
from automix_cli.evaluation.label_plan import LossSoFar, NextStep
from automix_cli.evaluation.label_sequence import LossBounds
from automix_cli.evaluation.loss import LossAgainst, LossByLabels
from automix_cli.views.label_view import (
    LabelOutcome,
    _fewer_words,
    card_text,
    keys_line,
    outcome_dict,
    outcome_lines,
    progress_line,
)
from automix_cli.views.terminal import unbroken
from automix_cli.views.verdict_words import label_counts_words

SO_FAR = LossSoFar(value=0.004, bounds=LossBounds(-0.002, 0.011), at_end=0.008, next_step=NextStep(6, 0.005))
LOSS = LossAgainst(
    baseline="large",
    differing=0.049,
    most=0.06,
    labels=(28, 20),
    by_labels=LossByLabels(0.005, -0.003, 0.013),
)
OUTCOME = LabelOutcome(
    baseline="large",
    n_rows=1319,
    n=28,
    n_labelled=27,
    n_skipped=1,
    so_far=SO_FAR,
    loss=LOSS,
    right={"small": (7, 10), "large": (9, 10)},
    command="automix calibrate rows.jsonl --labels rows.labels.jsonl --baseline large",
)


def test_progress_says_what_is_settled_and_what_more_labels_would_do() -> None:
    assert progress_line(22, 28, 1319, "large", SO_FAR) == (
        "22 of 28 · so far on these 1,319 rows, the policy loses 0.4 points against large "
        "(95 % at every look: from a gain of 0.2 to a loss of 1.1 points); all 28: ± 0.8 points; "
        "6 labels more than that: ± 0.5"
    )
    nothing = SO_FAR._replace(value=None, next_step=None)
    assert "too few labels; it is from a gain of 0.2 to a loss of 1.1 points (95 % at" in progress_line(
        0, 28, 9, "large", nothing
    )
    settled = SO_FAR._replace(value=-0.004, bounds=LossBounds(-0.004, -0.004))
    assert "on these 9 rows, the policy gains 0.4 points against large exactly" in progress_line(
        28, 28, 9, "large", settled
    )


def test_a_row_that_was_skipped_is_no_reason_for_a_loss_without_a_figure_where_nothing_hangs_on_it() -> None:
    near = LossSoFar(None, LossBounds(0.00496, 0.00504), at_end=0.0, next_step=None, n_skipped=1)
    assert progress_line(24, 25, 200, "large", near) == (
        "24 of 25 · so far on these 200 rows, the policy loses 0.5 points against large, "
        "though 1 row was skipped: hardly anything hangs on that; all 25 settle it"
    )
    line = progress_line(25, 25, 200, "large", near._replace(bounds=LossBounds(0.005, 0.007)))
    assert "no estimate, since 1 row was skipped; it is a loss of 0.5 to 0.7 points (95 %" in line
    assert "± 0.0" not in line
    assert "all 25" not in line


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_cut_within_an_interval_or_a_command(width: int) -> None:
    text = f"{progress_line(22, 28, 1319, 'large', SO_FAR)}\n{chr(10).join(outcome_lines(OUTCOME))}"
    lines = unbroken(text, width).split("\n")
    whole = [
        part
        for part in ("from a gain of 0.2 to a loss of 1.1 points", "± 0.8 points", "(95 %")
        if part in text
    ]
    for part in whole:
        assert sum(line.count(part) for line in lines) == text.count(part) or len(part) > width - 2
    at = lines.index("use the labels:")
    command = " ".join(line.strip().removesuffix(" \\") for line in lines[at + 1 :])
    assert command == OUTCOME.command
    assert all(line.endswith(" \\") for line in lines[at + 1 : -1])


def test_fewer_rows_than_were_asked_for_have_their_reason() -> None:
    rows = np.arange(100)
    draw = draw_labels(range(100), np.where(rows < 20, 1.0, 0.0), 18, 10, seed=0)
    both = 28 - len(draw.order)
    assert both > 0
    assert _fewer_words(both, 28, draw) == (
        f"note: {len(draw.order)} in place of 28: {both} are in both parts and are labelled once"
    )
    few = draw_labels(range(100), np.where(rows < 5, 1.0, 0.0), 18, 10, seed=0)
    assert "for 13 no further row is there that tells anything" in _fewer_words(0, 28, few)


def test_the_outcome_says_which_interval_is_meant() -> None:
    text = "\n".join(outcome_lines(OUTCOME))
    assert "27 of 28 rows labelled, 1 skipped" in text
    assert (
        "on these 1,319 rows: the policy loses 0.4 points against large (95 % at every look: from a " in text
    )
    assert (
        "on new questions: it loses 0.5 points (95 %: from a gain of 0.3 to a loss of 1.3; "
        "by 28 labels, 20 where answers differ, their number fixed before)" in text
    )
    assert "large on 9 of 10" in text
    assert outcome_dict(OUTCOME)["loss_on_new"] == pytest.approx([0.5, -0.3, 1.3])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (LOSS._replace(n_skipped=1), "fixed before, 1 row without its label lost and won)"),
        (LOSS._replace(look=2), "their number fixed anew, look 2"),
        (
            LOSS._replace(by_labels=None),
            "at most 6.0 points (95 %), by the share that differs; too few labels",
        ),
        (LOSS._replace(by_labels=None, n_skipped=1), "no estimate, since 1 row to label has no label"),
        (LOSS._replace(by_labels=None, n_skipped=3), "no estimate, since 3 rows to label have no label"),
    ],
)
def test_of_new_questions_it_says_what_labels_support(loss: LossAgainst, words: str) -> None:
    assert words in "\n".join(outcome_lines(OUTCOME._replace(loss=loss)))


def test_a_loss_of_which_nothing_is_open_is_exact() -> None:
    settled = SO_FAR._replace(value=0.0, bounds=LossBounds(-0.017, -0.017))
    text = "\n".join(outcome_lines(OUTCOME._replace(so_far=settled)))
    assert (
        "on these 1,319 rows: the policy gains 1.7 points against large exactly, "
        "since every row that can change it has a label" in text
    )


def test_a_loss_of_another_policy_is_named_and_a_missing_one_has_its_reason() -> None:
    skips = SO_FAR._replace(value=None, n_skipped=1)
    text = "\n".join(outcome_lines(OUTCOME._replace(so_far=skips, policy="every other answer")))
    assert (
        "on these 1,319 rows: every other answer against large: no estimate, since 1 row was skipped" in text
    )
    assert "it is from a gain of 0.2 to a loss of 1.1 points (95 % at every look)" in text
    assert "calibrate fits with the labels, and tells the loss of the policy that it then chooses" in text
    assert outcome_dict(OUTCOME._replace(so_far=skips))["loss_points"] is None
    assert "every other answer loses 0.4 points against large" in progress_line(
        9, 28, 1319, "large", SO_FAR, "every other answer"
    )


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "n none right"), (1, "1 right · n wrong"), (2, "1 first right"), (4, "1-4 mark right ones, Enter")],
)
def test_keys_are_those_of_so_many_answers(n: int, words: str) -> None:
    assert keys_line(n, whole=True).startswith(words)


def test_long_texts_are_cut_until_somebody_wants_all() -> None:
    row = {"id": 1, "question": "?", "context": "line\n" * 40, "tiers": {"s": {"answer": "word " * 400}}}
    card = AnswerCard.of(row, "exact", 0)
    short, whole = card_text(card, whole=False), card_text(card, whole=True)
    assert (short.is_whole, whole.is_whole) == (False, True)
    assert len(short.context) < 80
    assert len(short.answers[0][1]) < 1000 < len(whole.answers[0][1])


def test_a_table_of_qualities_says_on_how_many_labels_they_stand() -> None:
    assert label_counts_words(None, 9, is_withheld=False) == ""
    assert label_counts_words(LOSS._replace(labels=(0, 0)), 9, is_withheld=True) == ""
    assert label_counts_words(LOSS, 1319, is_withheld=True) == (
        "quality: 28 of 1,319 rows have a label, 20 where answers differ; other rows count as these show; "
        "empty: too few labels to say"
    )
