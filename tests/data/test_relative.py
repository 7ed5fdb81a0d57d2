"""Scores beside a baseline's: what rows without a label tell, and what labels add."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from msgspec.structs import replace

from automix_cli.data.labelled import TableOptions
from automix_cli.data.read_traces import read_table
from automix_cli.data.relative import TableReader, score_beside
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError
from automix_cli.records import Json

SMALL = ["a", "a", "b", "c", "A"]
LARGE = ["a", "b", "b", "b", "a"]
EXPECTED = ["a", "a", "b", "b", "z"]


def rows(labels: set[int], **extra: Json) -> list[Json]:
    """Five questions; small's answer is equal to large's on the first, third and last one."""
    pairs = zip(SMALL, LARGE, EXPECTED, strict=True)
    return [
        {
            "id": n,
            "tiers": {"small": {"answer": small, "cost": 1}, "large": {"answer": large, "cost": 9}},
            **({"expected": expected} if n in labels else {}),
            **extra,
        }
        for n, (small, large, expected) in enumerate(pairs)
    ]


def read(
    labels: set[int], baseline: str | None = None, labels_from: str | None = None, **extra: Json
) -> TraceTable:
    notes: list[str] = []
    reader = TableReader(lambda: enumerate(rows(labels, **extra), 1), TableOptions(), "rows.jsonl", "exact")
    return reader.table(labels_from=labels_from, baseline=baseline, say=notes.append)


def test_where_every_row_has_a_label_scores_are_the_labels_own() -> None:
    table = read(set(range(5)), "large")
    assert table.relative is None
    assert table.worth is table.score
    assert table.score[:, 0].tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(("missing", "is_alone"), [(1, True), (2, True), (3, False)])
def test_where_few_labels_are_missing_the_others_are_used_alone(missing: int, is_alone: bool) -> None:
    cells = {"small": {"answer": "a", "cost": 1}, "large": {"answer": "b", "cost": 9}}
    own = [
        {"id": n, "question": f"{n}?", "tiers": cells} | ({} if n < missing else {"expected": "a"})
        for n in range(40)
    ]
    notes: list[str] = []
    reader = TableReader(lambda: enumerate(own, 1), TableOptions(), "rows.jsonl", "exact")
    table = reader.table(labels_from=None, baseline=None, say=notes.append)
    assert (table.relative is None, len(table)) == (is_alone, 40 - missing * is_alone)
    assert any("without a label are left out; --baseline large" in note for note in notes) == is_alone
    assert reader.table(labels_from=None, baseline="large", say=notes.append).relative is not None


def test_without_a_label_every_difference_counts_as_lost() -> None:
    table = read(set(), "large")
    assert table.beside == "large"
    assert table.worth.tolist() == table.score.tolist() == [[1, 1], [0, 1], [1, 1], [0, 1], [1, 1]]


def test_without_a_label_a_baseline_must_be_named() -> None:
    with pytest.raises(DataError, match="none of 5 rows has a label") as error:
        read(set())
    assert "--baseline large" in str(error.value.hint)


def test_labels_are_not_looked_at_where_a_tiers_answers_take_their_place() -> None:
    table = read(set(range(5)), labels_from="small")
    assert table.score.tolist() == [[1, 1], [1, 0], [1, 1], [1, 0], [1, 1]]


def test_a_row_on_which_the_baseline_gave_no_answer_is_left_out_and_said() -> None:
    notes: list[str] = []
    table = read(set(), "large")
    failed = table.failed.copy()
    failed[0, 1] = True
    unlabelled = replace(table, score=np.full((5, 2), np.nan), failed=failed, relative=None)
    assert len(score_beside(unlabelled, "large", say=notes.append)) == 4
    assert notes == ["1 of 5 rows are left out: large gave no answer there"]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_mean_worth_is_right_on_average_over_draws_of_labels(share: float) -> None:
    """Whatever is expected of rows without a label: the estimator has no bias."""
    rng, n = np.random.default_rng(0), 400
    equal = rng.random(n) < 0.6
    score = np.where(equal, 1.0, rng.random(n) < 0.4)
    table = read_table(
        ((i, {"tiers": {"s": {"answer": "a" if equal[i] else "b"}, "l": {"answer": "a"}}}) for i in range(n)),
        compare="exact",
    )
    scores = np.stack([score, np.ones(n)], axis=1)
    means = []
    for _ in range(300):
        labelled = rng.random(n) < share
        own = replace(table, score=np.where(labelled[:, None], scores, np.nan), inclusion=np.full(n, share))
        means.append(score_beside(own, "l").worth[:, 0].mean())
    error = np.std(means) / np.sqrt(len(means))
    assert np.mean(means) == pytest.approx(score.mean(), abs=3 * error)


def test_a_label_with_a_chance_of_none_is_refused() -> None:
    with pytest.raises(DataError, match="inclusion"):
        read({0}, "large", inclusion=0)


def test_rows_offered_and_not_labelled_are_counted() -> None:
    table = read({0, 1}, "large", inclusion=0.5)
    assert table.relative is not None
    assert table.relative.n_skipped == 3


# ---------------------------------------------------------------- rows chosen to be labelled


def read_drawn(parts: list[str], *, n: int, drop: bool = True, has_all_rows: bool = False) -> TraceTable:
    """n rows, of which the first have a label and say how they were drawn; notes go to `NOTES`."""
    own = [
        {
            "id": k,
            "tiers": {"small": {"answer": "a", "cost": 1}, "large": {"answer": "b", "cost": 9}},
            **({"expected": "b", "drawn": parts[k], "inclusion": 0.5} if k < len(parts) else {}),
        }
        for k in range(n)
    ]
    options = TableOptions(drop_incomplete=drop)
    reader = TableReader(lambda: enumerate(own, 1), options, "r.jsonl", "exact", has_all_rows=has_all_rows)
    NOTES.clear()
    return reader.table(labels_from=None, baseline="large", say=NOTES.append)


NOTES: list[str] = []


@pytest.mark.parametrize("n", [60, 90], ids=["the drawn rows alone", "rows without a label left out"])
def test_without_all_rows_only_labels_drawn_at_random_are_used(n: int) -> None:
    table = read_drawn(["chosen"] * 20 + ["random", "both"] * 20, n=n)
    assert table.ids.tolist() == list(range(20, 60))
    assert table.relative is None
    assert NOTES == ["labels of 40 rows drawn at random are used alone: the other 20 were chosen"]


@pytest.mark.parametrize(
    ("with_label", "outcome"),
    [
        (range(0, 200, 2), ""),  # answers differ on 25 of these 100, and on 50 of all 200
        ([*range(0, 120, 3), *range(1, 30, 3)], "note: answers differ on 40 of 50 rows with a label"),
        (range(0, 120, 3), "refused"),
    ],
    ids=["at random", "mostly where answers differ", "only where answers differ"],
)
def test_labels_that_stand_where_answers_differ_are_not_taken_for_random(
    with_label: Sequence[int], outcome: str
) -> None:
    """Somebody labelled by hand what looked doubtful, and no row says so."""
    own = [
        {
            "id": k,
            "tiers": {"small": {"answer": "a" if k % 3 or k >= 150 else "b"}, "large": {"answer": "a"}},
            **({"expected": "a"} if k in with_label else {}),
        }
        for k in range(200)
    ]
    reader = TableReader(lambda: enumerate(own, 1), TableOptions(drop_incomplete=True), "r.jsonl", "exact")
    NOTES.clear()
    if outcome == "refused":
        with pytest.raises(DataError, match="40 of 40 rows with a label, and on 50 of all 200") as error:
            reader.table(labels_from=None, baseline=None, say=NOTES.append)
        assert "without --drop-incomplete" in str(error.value.hint)
        return
    reader.table(labels_from=None, baseline=None, say=NOTES.append)
    assert [note[: len(outcome)] for note in NOTES] == [outcome][: len(NOTES)]
    assert bool(NOTES) == bool(outcome)


@pytest.mark.parametrize("parts", [["chosen"] * 40, ["chosen"] * 40 + ["random"] * 29])
def test_labels_of_chosen_rows_are_refused_where_too_few_were_drawn_at_random(parts: list[str]) -> None:
    with pytest.raises(DataError, match="were chosen to be labelled say nothing of all rows") as error:
        read_drawn(parts, n=80)
    assert "--labels LABELS --baseline TIER" in str(error.value.hint)


@pytest.mark.parametrize(
    ("chances", "message"),
    [
        ([0.1] * 40, ""),
        ([0.1] * 39 + [0.2], 'rows that were drawn from all rows alike say "drawn": "random"'),
        ([0.1] * 39 + [1.0], 'rows that were drawn from all rows alike say "drawn": "random"'),
    ],
    ids=["one draw", "two chances", "some for sure"],
)
def test_labels_of_another_tool_are_one_draw_where_all_had_the_same_chance(
    chances: list[float], message: str
) -> None:
    """Nobody but automix says how a row was drawn; a chance is what other tools know."""
    notes: list[str] = []
    own = [
        {**row, "id": k, "inclusion": p}
        for k, (p, row) in enumerate(zip(chances, rows({0}) * 8, strict=False))
    ]
    own = [{**row, "expected": "a"} for row in own]
    reader = TableReader(lambda: enumerate(own, 1), TableOptions(), "r.jsonl", "exact")
    if message:
        with pytest.raises(DataError, match="say nothing of all rows") as error:
            reader.table(labels_from=None, baseline=None, say=notes.append)
        assert message in str(error.value.hint)
        assert "calibrate" not in str(error.value.hint)  # bench refuses it as well
    else:
        assert len(reader.table(labels_from=None, baseline=None, say=notes.append)) == 40
        assert notes == ["every label has the inclusion 0.1: taken for drawn at random from all rows"]


@pytest.mark.parametrize("is_for_labels", [False, True])
def test_the_way_out_names_only_options_of_the_command(is_for_labels: bool) -> None:
    """`label` cannot leave rows without a label out, and `bench` is not `calibrate`."""
    own = rows({0})
    del own[2]["tiers"]["small"]["answer"]
    reader = TableReader(lambda: enumerate(own, 1), TableOptions(), "rows.jsonl", "exact")
    read_rows = reader.table_beside if is_for_labels else partial(reader.table, labels_from=None)
    with pytest.raises(DataError, match="lack an answer") as error:
        read_rows(baseline="large", say=NOTES.append)
    hint = str(error.value.hint)
    assert ("; --drop-incomplete uses labels alone" in hint) != is_for_labels
    assert "calibrate" not in hint


def test_chosen_rows_are_used_where_every_row_has_a_label() -> None:
    assert len(read_drawn(["chosen"] * 40, n=40, has_all_rows=True)) == 40


def test_the_note_on_labels_names_no_option_that_takes_chosen_rows_alone() -> None:
    assert read_drawn(["chosen"] * 40, n=80, drop=False).beside == "large"
    assert NOTES == ["40 of 80 rows have a label: answers are compared with those of large"]


@pytest.mark.parametrize("cell", [{}, {"answer": None}])
def test_rows_without_a_label_and_an_answer_are_refused_by_their_tier(cell: Json) -> None:
    own = rows({0})
    own[2]["tiers"]["small"] = cell
    reader = TableReader(lambda: enumerate(own, 1), TableOptions(), "rows.jsonl", "exact")
    message = r"1 of 5 rows have no label and lack an answer: small on 1 \(the first: 2\)"
    with pytest.raises(DataError, match=message):
        reader.table(labels_from=None, baseline="large", say=lambda text: None)
    with pytest.raises(DataError, match=message):
        reader.table_beside("large", say=lambda text: None)


def test_blank_gold_answers_are_no_labels_and_are_counted() -> None:
    notes: list[str] = []
    own = [{**row, "expected": "" if row["id"] else "a"} for row in rows(set())]
    reader = TableReader(lambda: enumerate(own, 1), TableOptions(), "rows.jsonl", "exact")
    table = reader.table(labels_from=None, baseline="large", say=notes.append)
    assert table.relative is not None
    assert table.relative.has_label.tolist() == [True, False, False, False, False]
    assert 'note: "expected" is blank in 4 of 5 rows: no label' in notes


def test_answers_that_are_numbers_are_compared_as_their_texts() -> None:
    own = [{"id": 0, "tiers": {"small": {"answer": 4}, "large": {"answer": "4"}}}]
    reader = TableReader(lambda: enumerate(own, 1), TableOptions(), "rows.jsonl", "exact")
    assert reader.table_beside("large", say=lambda text: None).score.tolist() == [[1, 1]]
