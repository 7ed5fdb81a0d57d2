"""What `automix label` says of labels, in words."""

import pytest

from automix_cli.data.label_cards import AnswerCard
from automix_cli.evaluation.label_plan import LossSoFar, NextStep
from automix_cli.evaluation.label_sequence import LossBounds
from automix_cli.evaluation.loss import LossAgainst, LossByLabels
from automix_cli.views.label_view import (
    LabelOutcome,
    card_text,
    keys_line,
    outcome_dict,
    outcome_lines,
    progress_line,
)

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
    assert progress_line(22, 28, "large", SO_FAR) == (
        "22 of 28 · loss against large so far 0.4 points, -0.2 to 1.1 (95 %, at every look); "
        "all 28: ± 0.8; 6 labels more than that: ± 0.5"
    )
    nothing = SO_FAR._replace(value=None, next_step=None)
    assert "so far -0.2 to 1.1" in progress_line(0, 28, "large", nothing)


def test_the_outcome_says_which_interval_is_meant() -> None:
    text = "\n".join(outcome_lines(OUTCOME))
    assert "27 of 28 rows labelled, 1 skipped" in text
    assert "on these 1,319 rows: 0.4 points (95 %: -0.2 to 1.1, at every look)" in text
    assert "on new questions: 0.5 points (95 %: -0.3 to 1.3, at the number of labels fixed before)" in text
    assert "large on 9 of 10" in text
    assert outcome_dict(OUTCOME)["loss_on_new"] == pytest.approx([0.5, -0.3, 1.3])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (LOSS._replace(n_skipped=1), "fixed before, 1 row without its label lost and won)"),
        (LOSS._replace(look=2), "at the number of labels fixed anew, look 2"),
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
    assert "on these 1,319 rows: -1.7 points exactly, since every row that can change it has a label" in text


def test_a_loss_of_another_policy_is_named_and_a_missing_one_has_its_reason() -> None:
    skips = SO_FAR._replace(value=None, n_skipped=1)
    text = "\n".join(outcome_lines(OUTCOME._replace(so_far=skips, policy="every other answer")))
    assert (
        "loss of every other answer against large on these 1,319 rows: no estimate, since 1 row was skip"
        in text
    )
    assert "-0.2 to 1.1 points (95 %, at every look)" in text
    assert "with the labels calibrate may choose another policy" in text
    assert outcome_dict(OUTCOME._replace(so_far=skips))["loss_points"] is None
    assert "loss of every other answer against large so far 0.4" in progress_line(
        9, 28, "large", SO_FAR, "every other answer"
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
