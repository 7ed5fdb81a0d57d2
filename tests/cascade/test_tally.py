"""What a batch came to, counted row by row."""

from __future__ import annotations

import pytest

from automix_cli.cascade.tally import CheckTally, Tally
from automix_cli.cascade.verification import Verification
from automix_cli.records import Answer, Question, RowError, Step, Verdict, VoteCount
from automix_cli.usage import Usage
from automix_cli.views.lines import batch_summary


def answer(**fields: object) -> Answer:
    return Answer(question=Question(text="?"), **fields)


def test_a_tally_counts_rows_money_and_votes() -> None:
    small = Step(tier="small", votes=(Verdict.CORRECT, Verdict.UNPARSED), cost_usd=0.1, spent_usd=0.1)
    large = Step(tier="large", cost_usd=1.0, spent_usd=0.0, usage=Usage(calls=1))
    tally = Tally()
    tally.add(answer(answer="a", route=(small,)))
    tally.add(answer(answer="b", route=(small, large)))
    tally.add(answer(route=(small,)).with_error(RowError(type="timeout", message="late")))
    assert (tally.rows, tally.ok, tally.errors, tally.escalated) == (3, 2, 1, 1)
    assert tally.cost_usd == pytest.approx(1.3)
    assert tally.spent_usd == pytest.approx(0.3)
    assert tally.escalated_share == 0.5
    assert tally.faults.kinds == {"timeout": (1, "late")}
    assert tally.first_votes["small"] == VoteCount(3, 0, 0)
    assert tally.votes == VoteCount(3, 0, 3)
    assert tally.rates() == {}, "a row failed"
    tally.rows -= 1
    assert tally.rates() == {"escalated": (1, 2), "small": (3, 3)}


def test_a_row_that_the_budget_stopped_on_its_way_up_is_no_escalation_of_the_answered_rows() -> None:
    small, large = Step(tier="small", action="escalate"), Step(tier="large")
    tally = Tally()
    tally.add(answer(answer="a", route=(small,)))
    tally.add(answer(answer="b", route=(small, large)))
    error = RowError(type="budget", message="could exceed --max-cost $1: " + "x" * 80 + " was left over")
    skipped = answer(route=(small, large)).with_error(error, "skipped")
    assert skipped.escalated
    tally.add(skipped)
    assert (tally.skipped, tally.escalated, tally.escalated_share) == (1, 1, 0.5)
    assert not tally.rates()  # what would have gone on was left out
    summary = "\n".join(batch_summary(tally, 1.0))
    assert "50% of the answered rows escalated" in summary
    assert "was left over" in summary


def test_a_tally_counts_the_rows_on_which_each_tier_gave_no_answer_and_the_summary_says_so() -> None:
    mute, large = Step(tier="small", failed="no_text", action="escalate"), Step(tier="large", answer="b")
    tally = Tally()
    for _ in range(3):
        tally.add(answer(answer="b", route=(mute, large)))
    tally.add(answer(answer="b", route=(Step(tier="small", answer="b"),)))
    assert tally.mute == {"small": 3}
    assert batch_summary(tally, 1.0)[1:] == ["  small gave no answer to 3 rows"]


def test_rows_that_were_not_asked_are_apart_and_each_kind_says_once_what_mends_it() -> None:
    tally = Tally()
    late = RowError(type="timeout", message="late", attempts=3, hint="limits: {timeout: …}")
    refused = RowError(type="auth", message="401", attempts=1, fatal=True, hint="export KEY=…")
    behind = RowError(type="auth", message="not asked: 401", attempts=0, fatal=True, hint="export KEY=…")
    for error in (behind, late, refused, late, behind):
        tally.add(answer().with_error(error))
    assert tally.faults.not_asked == 2
    assert tally.faults.kinds == {"timeout": (2, "late"), "auth": (1, "401")}
    first, *others = batch_summary(tally, 1.0)
    assert first.startswith("5 rows: 0 ok, 3 errors, 2 not asked")
    assert others[-1] == "  timeout: limits: {timeout: …}", "the error that ends a run says its own"
    assert sum("limits" in line for line in others) == 1


LATE = RowError(type="timeout", message="late", attempts=3)
BEHIND = RowError(type="model", message="not asked: 404", attempts=0, fatal=True)


@pytest.mark.parametrize(
    ("golds", "error", "words"),
    [
        ("aa", None, "100% escalated · quality 100% ·"),
        ("aa", LATE, "100% of the answered rows escalated · quality 100% of the answered rows ·"),
        ("aa", BEHIND, "100% of the answered rows escalated · quality 100% of the answered rows ·"),
        ("a-", None, "100% escalated · quality 100% on 1 row with a right answer ·"),
        ("a-", LATE, "rows escalated · quality 100% on 1 answered row with a right answer ·"),
    ],
)
def test_what_is_of_the_answered_rows_alone_says_so(golds: str, error: RowError | None, words: str) -> None:
    route = (Step(tier="small", action="escalate"), Step(tier="large"))
    tally = Tally(scorer="exact")
    for gold in golds:
        question = Question(text="?", expected=() if gold == "-" else (gold,))
        tally.add(Answer(question=question, answer="a", route=route))
    if error is not None:
        tally.add(answer(route=route).with_error(error))
    assert words in batch_summary(tally, 1.0)[0]


def test_one_unknown_price_makes_the_total_unknown_never_zero() -> None:
    tally = Tally()
    tally.add(answer(answer="a", route=(Step(tier="small", cost_usd=None, spent_usd=None),)))
    tally.add(answer(answer="b", route=(Step(tier="small", cost_usd=0.5),)))
    assert tally.cost_usd is None


def test_a_tally_of_verifications_counts_what_was_not_found_correct() -> None:
    tally = CheckTally()
    fields = {"question": Question(text="?"), "tier": "small", "signal": "votes"}
    for verdict in ("correct", "incorrect", "none"):
        tally.add(Verification(**fields, verdict=verdict, cost_usd=0.5))
    tally.add(Verification(**fields, error=RowError(type="timeout", message="late")))
    assert (tally.rows, tally.errors, tally.below) == (4, 1, 2)
    assert tally.verdicts == {"correct": 1, "incorrect": 1, "none": 1}
    assert tally.faults.kinds == {"timeout": (1, "late")}
    assert tally.cost_usd == 1.5


def test_answers_are_judged_where_rows_say_what_is_right() -> None:
    rows = [
        Answer(
            question=Question(text="?", choices=("Rome", "Oslo"), expected=(gold,) if gold else ()),
            answer=said,
        )
        for gold, said in (("Oslo", "B"), ("Rome", "B"), ("", "A"), ("1", "B"))
    ]
    tally, silent = Tally(scorer="choice"), Tally()
    for row in rows:
        tally.add(row)
        silent.add(row)
    assert (tally.scores.rows, tally.scores.total) == (2, 1.0)
    assert "quality 50% on 2 rows with a right answer" in batch_summary(tally, 1.0)[0]
    assert "quality" not in batch_summary(silent, 1.0)[0]
