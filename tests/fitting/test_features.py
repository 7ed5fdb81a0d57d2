"""A question as numbers: the same for a text whatever stands beside it, learned from training texts alone."""

import json
import random

import numpy as np
import pytest

from automix_cli.errors import DataError
from automix_cli.fitting.features import (
    FORM,
    MAX_TEXT,
    Quantised,
    TextFeatures,
    VectorFeatures,
    fit_text_features,
    fit_vector_features,
    form,
    pack,
    product,
    unpack,
)

WORDS = (
    *("the", "of", "moon", "sun", "how", "many", "apples", "12", "7", "x", "=", "y", "+", "café", "月"),
    *("does", "'quoted'", "(a)", "[b]", "{c}", "def", "__init__"),
)


def some_texts(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(n)]


def dense(features: TextFeatures, texts: list[str]) -> np.ndarray:
    rows = features.of(texts)
    table = np.zeros((rows.n, rows.width))
    table[rows.row, rows.column] = rows.value
    return table


def test_a_row_depends_on_its_own_text_alone_bit_for_bit() -> None:
    features, texts = fit_text_features(some_texts(80), 200), some_texts(40, seed=1)
    together = dense(features, texts)
    alone = np.vstack([dense(features, [text]) for text in texts])
    assert (together == alone).all()
    weights = np.random.default_rng(0).normal(size=(features.width, 3))
    one_by_one = np.vstack([features.of([text]).times(weights) for text in texts])
    assert (features.of(texts).times(weights) == one_by_one).all()


def test_words_that_no_training_text_has_twice_change_only_the_form() -> None:
    features = fit_text_features(["how far is the moon", "how far is the sun"], 100)
    entries = len(features.vocabulary)
    one, other = (dense(features, [f"how far is {word}"])[0] for word in ("zyx", "qwv"))
    assert (one == other).all()
    assert (one[:entries] > 0).sum() > 5


def test_idf_counts_training_texts_and_no_others() -> None:
    texts = ["a b", "a b", "a", "c"]
    features = fit_text_features(texts, 100)
    expected = {1 + np.log(5 / 4), 1 + np.log(5 / 3)}  # "a" in 3 texts of 4; "b" and "a b" in 2
    found = np.array(sorted(set(features.idf)))
    assert found == pytest.approx(sorted(expected), abs=0.031)  # one byte an entry


def test_words_and_pairs_weigh_as_in_scikit_learn() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="needs scikit-learn")
    train, test = some_texts(300), some_texts(50, seed=1)
    features = fit_text_features(train, 100_000)
    words = int((features.vocabulary < 1 << 24).sum())
    reference = text.TfidfVectorizer(
        preprocessor=lambda t: "".join("0" if c.isdigit() else c for c in t.casefold()),
        token_pattern=r"(?u)\w+",
        ngram_range=(1, 2),
        min_df=2,
        sublinear_tf=True,
    ).fit(train)
    assert words == len(reference.vocabulary_)
    own, theirs = dense(features, test)[:, :words], reference.transform(test)
    assert own @ own.T == pytest.approx((theirs @ theirs.T).toarray(), abs=0.02)  # idf is kept in a byte


def test_the_vocabulary_keeps_the_most_frequent_entries_of_both_sides() -> None:
    small, large = (fit_text_features(some_texts(200), limit) for limit in (20, 2_000))
    assert len(small.vocabulary) == 20
    assert set(small.vocabulary) < set(large.vocabulary)
    assert small.idf.max() < large.idf.max()
    assert (small.vocabulary < 1 << 24).sum() == 10


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "\ud800 lone", "月が大きい" * 50, "a" * 3 * MAX_TEXT, "\x00", "🙂", "١٢٣"]
)
def test_any_text_has_a_finite_row(text: str) -> None:
    features = fit_text_features([*some_texts(20), text, text], 500)
    row = dense(features, [text])[0]
    assert np.isfinite(row).all()
    entries = len(features.vocabulary)
    assert np.linalg.norm(row[:entries]) <= np.sqrt(2) + 1e-12


def test_what_stands_behind_the_limit_changes_the_length_alone() -> None:
    features = fit_text_features(some_texts(50), 200)
    long = "moon " * (MAX_TEXT // 5)
    one, other = (dense(features, [long + tail])[0] for tail in ("sun 7 {c}" * 9, "how many?" * 9))
    assert (one == other).all()


def test_the_form_counts_what_it_names() -> None:
    asked = form("Which is 2 + 2?\nA. 3\nB. 4")
    assert len(asked) == FORM
    lines, numbers, choices = (round(float(np.expm1(asked[i]))) for i in (2, 3, 9))
    assert (lines, numbers, choices) == (2, 4, 2)
    questions = asked[14:16]
    assert questions == [1.0, 0.0]  # there is a question mark, but not at the end
    assert asked[18:].index(1.0) == 6  # "which"


def test_training_texts_without_variety_or_none_at_all_give_rows_all_the_same() -> None:
    for texts in ([], ["same"] * 4, ["", ""]):
        features = fit_text_features(texts, 50)
        assert np.isfinite(dense(features, ["another one?"])).all()
        assert features.of([]).n == 0


def test_features_survive_json_exactly_and_hold_no_word() -> None:
    features = fit_text_features(some_texts(200), 600)
    told = json.dumps(features.to_dict())
    read = TextFeatures.from_dict(json.loads(told))
    assert (dense(read, some_texts(30, seed=2)) == dense(features, some_texts(30, seed=2))).all()
    assert not any(word in told for word in ("moon", "apples", "café"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"idf": "?"},
        {"idf": None},
        {"keys": pack(np.zeros(3, np.uint8))},
        {"words": 0},
        {"form_mean": [0.0]},
        {"form_spread": [0.0] * FORM},
        {"form_mean": [float("nan")] * FORM},
        {"form_mean": ["x"] * FORM},
    ],
)
def test_features_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    good = fit_text_features(some_texts(100), 100).to_dict()
    with pytest.raises(DataError, match="cannot be read"):
        TextFeatures.from_dict({**good, **wrong})


def test_a_matrix_in_bytes_is_half_a_step_away_at_most_and_packs_exactly() -> None:
    matrix = np.random.default_rng(0).normal(size=(50, 3)) * [1e-3, 1.0, 1e4]
    kept = Quantised.of(matrix)
    assert (np.abs(kept.matrix - matrix) <= 0.502 * kept.scale).all()
    read = Quantised.from_dict(json.loads(json.dumps(kept.to_dict())), 50)
    assert (read.matrix == kept.matrix).all()
    assert (Quantised.of(np.zeros((4, 2))).matrix == 0).all()


def test_unpacking_checks_the_size() -> None:
    packed = pack(np.arange(6, dtype=np.int8))
    assert unpack(packed, "int8", 2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DataError, match="do not fit"):
        unpack(packed, "int8", 2, 2)


def test_embeddings_are_scaled_to_length_one_and_checked() -> None:
    around_zero = VectorFeatures(Quantised.of(np.zeros((2, 1))))
    rows = around_zero.of([[3.0, 4.0], [0.0, 0.0]])
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0]]
    assert product(rows, np.array([[1.0], [1.0]])).tolist() == [[1.4], [0.0]]
    for wrong in ([[1.0]], [1.0, 2.0], [[np.nan, 1.0]]):
        with pytest.raises(DataError, match="expected embeddings of 2"):
            around_zero.of(wrong)
    with pytest.raises(DataError, match="expected finite embeddings"):
        fit_vector_features([[np.inf, 1.0]])


def test_embeddings_that_lie_in_one_corner_are_told_apart_from_their_middle() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)) + 20 * np.eye(8)[0]
    features = fit_vector_features(vectors, "openai/e")
    corner, spread = np.corrcoef(vectors), features.of(vectors)
    assert np.abs(corner).mean() > 0.9
    assert np.abs(spread @ spread.T - np.eye(50)).mean() < 0.4
    read = VectorFeatures.from_dict(json.loads(json.dumps(features.to_dict())))
    assert (read.model, read.width) == ("openai/e", 8)
    assert (read.of(vectors) == spread).all()
