"""Scorers: tables of answers as models write them, and laws over all of them."""

import itertools
import json
import os
import re
from pathlib import Path

import pytest

from automix_cli.errors import UsageError
from automix_cli.scoring import SCORERS, Plurality, canonical, equivalent, has_equal_form, plurality, score

EXACT = [
    ("Paris", "paris", 1),
    ("Paris.", "Paris", 1),
    ("  Paris \n", "Paris", 1),
    ("**Paris**", "Paris", 1),
    ("“Paris”", '"Paris"', 1),
    ("`list.append`", "list.append", 1),
    ("The Beatles", "Beatles", 1),
    ("the  Lord of the Rings", "Lord of the Rings", 1),
    ("an apple", "apple", 1),
    ("Paris…", "Paris", 1),
    ("ＰＡＲＩＳ", "paris", 1),
    ("Strasse", "Straße", 1),
    ("José Martí", "José Martí", 1),  # composed and decomposed
    ("don’t", "don't", 1),
    ("well–known", "well-known", 1),
    ("Yes, it is!", "yes it is", 1),
    ("```\n42\n```", "42", 1),
    ("The answer is Paris.", "Paris", 0),
    ("Paris, France", "Paris", 0),
    ("vitamin A", "vitamin", 0),
    ("Plan A", "plan b", 0),
    ("-3", "3", 0),
    ("3.5", "35", 0),
    (".5", "5", 0),
    ("50%", "50", 0),
    ("C++", "C", 0),
    ("C#", "C", 0),
    ("[1, 2]", "(1, 2)", 0),
    ("Jose", "José", 0),
    ("", "Paris", 0),
    ("?", "!", 0),
    ("", "", 1),
]

NUMERIC = [
    ("42", "42", 1),
    ("The answer is 42.", "42", 1),
    ("42 apples", "42", 1),
    ("x = -3", "-3", 1),
    ("It is −3 °C", "-3", 1),  # U+2212
    ("3", "-3", 0),
    ("a - 1", "-1", 0),
    ("between 3–5", "5", 1),
    ("1,234.5", "1234.5", 1),
    ("$1,234,567", "1234567", 1),
    ("-$5.00", "-5", 1),
    ("$-5", "-5", 1),
    ("€ 12", "12", 1),
    ("1e3", "1000", 1),
    ("6.02 x 10^23", "6.02e23", 1),
    (r"3 \times 10^{8} m/s", "300000000", 1),
    ("3/4", "0.75", 1),
    ("1 1/2 cups", "1.5", 1),
    (r"\boxed{\frac{3}{4}}", "3/4", 1),
    (r"The total is $\boxed{10{,}000}$.", "10000", 1),
    (r"2\frac{1}{2}", "2.5", 1),
    ("on 12/25/2023 there were 7", "7", 1),
    ("50%", "50", 1),
    ("50%", "0.5", 1),
    ("0.5%", "50%", 0),
    ("12 percent", "12%", 1),
    ("1.5 million people", "1500000", 1),
    ("8 billion", "8,000,000,000", 1),
    ("3 + 4 = 7", "7", 1),
    ("She has 16 - 3 - 4 = 9 eggs, so the answer is 9 * 2 = $18 (see step 3).", "18", 1),
    ("The answer is 42 (see step 3).", "42", 1),
    ("**Answer:** 42\n\nI checked this in 2 ways.", "42", 1),
    ("Answer:\n42\nThat took 3 steps.", "42", 1),
    ("He pays 5 * 3 = 15 dollars.\n#### 15", "15", 1),
    ("18", "Natalia sold 48/2 = 24 clips.\n#### 18", 1),
    ("at 2:00 pm", "2", 1),
    ("GPT-4 and H2O", "4", 0),
    ("33.33", "33.333333", 1),
    ("0.13", "0.125", 1),
    ("0.3", "0.30000000000000004", 1),
    ("33.3", "33.333333", 0),  # one decimal is no claim to be rounded
    ("12.50", "12.51", 0),
    ("1000000001", "1000000002", 0),
    ("123456789012345678901", "123456789012345678902", 0),
    ("42.0", "42", 1),
    ("2023", "2024", 0),
    ("１２", "12", 0),
    ("nan", "0", 0),
    ("inf", "1e308", 0),
    ("1e999", "2e999", 0),
    ("1" * 5000, "2" * 5000, 0),
    ("5/0", "0", 0),
    ("no idea", "42", 0),
    ("3,1000", "1000", 1),
    ("odds of .5", "1/2", 1),
    ("12/25/2023", "0.48", 0),
    ("12 percent", "0.12", 1),
    (r"50\%", "0.5", 1),
    (r"-\$5", "-5", 1),
    ("The answer is 42 = six times seven.\nStep 5 was hard.", "42", 1),
    ("The answer is 3. No, the answer is 4 (see 5).", "4", 1),
    ("The answer is\n42\nbecause x = 5", "42", 1),
    ("1.55 million", "1554000", 1),
    ("1.55 million", "1564000", 0),
    ("", "0", 0),
    ("none", "None.", 1),
]

CITIES = ("London", "Paris", "New York", "York")
CHOICE = [
    ("B", "B", 1),
    ("b", "B", 1),
    ("(B)", "B", 1),
    ("B.", "Paris", 1),
    ("B) Paris", "B", 1),
    ("b. paris", "B", 1),
    ("B: Paris", "Paris", 1),
    ("B - Paris", "B", 1),
    ("**B**", "B", 1),
    ("Answer: B", "B", 1),
    ("**Answer:** (B)", "B", 1),
    ("The answer is B because it is the capital.", "Paris", 1),
    ("The correct answer is: **B. Paris**", "B", 1),
    (r"So we get $\boxed{B}$.", "B", 1),
    ("Option B", "B", 1),
    ("I would pick option B here.", "B", 1),
    ("B is correct.", "B", 1),
    ("B\nParis is the capital of France.", "B", 1),
    ("Paris", "B", 1),
    ("paris.", "Paris", 1),
    ("The capital is Paris.", "B", 1),
    ("The answer is Paris.", "B", 1),
    ("It must be New York.", "C", 1),
    ("York", "D", 1),
    ("It must be New York.", "D", 0),
    ("A or B", "B", 0),
    ("London or Paris", "B", 0),
    ("(A) or (B)", "B", 0),
    ("(A) or (B)", "A", 0),
    ("London or Paris", "A", 0),
    ("The answer is A or B.", "A", 0),
    ("A. and C.", "A", 0),
    ("B - the capital of France", "B", 1),
    ("B – the capital of France", "B", 1),
    ("B\nIt is the capital of France.", "B", 1),
    ("A dog named Rex", "A", 0),
    ("E", "B", 0),
    ("C", "B", 0),
    ("I cannot say.", "B", 0),
    ("", "B", 0),
]

CONTAINS = [
    ("The capital is Paris.", "Paris", 1),
    ("**Paris** is the capital.", "paris", 1),
    ("It was Frank Herbert, in 1965.", "Frank Herbert", 1),
    ("It was Herbert, Frank.", "Frank Herbert", 0),
    ("Frank J. Herbert", "Frank Herbert", 0),
    ("a category", "cat", 0),
    ("concatenate", "cat", 0),
    ("The cat sat.", "cat", 1),
    ("He was born in 1965.", "65", 0),
    ("It costs -3 euros", "-3", 1),
    ("I prefer C++ to C", "C++", 1),
    ("say 'don’t' now", "don't", 1),
    ("The Lord of the Rings trilogy", "Lord of the Rings", 1),
    ("答案是巴黎。", "巴黎", 1),
    ("答案是伦敦。", "巴黎", 0),
    ("который", "кот", 0),
    ("a.*b", "axxb", 0),
    ("axxb", "a.*b", 0),
    ("", "Paris", 0),
    ("Paris", "", 0),
]

F1 = [
    ("Paris", "Paris", 1),
    ("the city of Paris", "Paris", 1 / 2),  # city of paris | paris
    ("Paris, France", "Paris", 2 / 3),
    ("It is Paris.", "in Paris", 2 / 5),
    ("the the the cat", "cat", 1),
    ("cat cat", "cat", 2 / 3),
    ("cat cat", "cat cat dog", 4 / 5),
    ("a big bucket of water", "a bucket of water", 6 / 7),
    ("April 6, 1917", "6 April 1917", 1),
    ("well-known", "well known", 0),  # SQuAD joins what punctuation held apart
    ("wellknown", "well-known", 1),
    ("ＰＡＲＩＳ", "paris", 1),
    ("yes", "no", 0),
    ("", "Paris", 0),
    ("Paris", "", 0),
    ("the", "a", 1),  # nothing is left of either
    ("Dai Yongge and Dai Xiu Li", "Dai Yongge", 4 / 8),
]

JSON = [
    ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', 1),
    ('{"a":1}', '{ "a" : 1 }\n', 1),
    ('{"a": 1}', '{"a": 1.0}', 1),
    ('{"a": 1}', '{"a": true}', 0),
    ('{"a": 0}', '{"a": false}', 0),
    ('{"a": 1}', '{"a": "1"}', 0),
    ('{"a": 1}', '{"a": 1, "b": null}', 0),
    ('{"a": 1, "b": null}', '{"a": 1}', 0),
    ('{"a": null}', '{"b": null}', 0),
    ("[1, 2]", "[2, 1]", 0),
    ("[1, 2]", "[1, 2, 3]", 0),
    ('{"x": [{"b": 2, "a": [1]}]}', '{"x": [{"a": [1], "b": 2}]}', 1),
    ("[true]", "[1]", 0),
    ("{}", "[]", 0),
    ('```json\n{"a": 1}\n```', '{"a": 1}', 1),
    ('Here it is:\n```\n{"a": 1}\n```\nEnjoy!', '{"a": 1}', 1),
    ('The result is {"a": 1}, as asked.', '{"a": 1}', 1),
    ('In [Paris] the result is {"a": 1}', '{"a": 1}', 1),
    ('Of [1] and [2]:\n```json\n{"a": 1}\n```', '{"a": 1}', 1),
    ('{"a": 1', '{"a": 1}', 0),
    ("{'a': 1}", '{"a": 1}', 0),
    ('{"a": NaN}', '{"a": NaN}', 1),  # no JSON on either side: compared as words
    ('{"a": NaN}', '{"a": 1}', 0),
    ("[" * 100_000, "[]", 0),
    ('"Paris"', "Paris", 1),
    ("Paris", '"Paris"', 0),
    ("42", "42.0", 1),
    ("", "{}", 0),
]

TABLES = {"exact": EXACT, "numeric": NUMERIC, "choice": CHOICE, "contains": CONTAINS, "f1": F1, "json": JSON}
CASES = [(scorer, *row) for scorer, table in TABLES.items() for row in table]


def choices_of(scorer: str) -> tuple[str, ...]:
    return CITIES if scorer == "choice" else ()


@pytest.mark.parametrize(
    ("scorer", "answer", "expected", "worth"),
    CASES,
    ids=[re.sub(r"[^ -~]", "?", f"{s}: {a[:30]} | {e[:20]}") for s, a, e, _ in CASES],
)
def test_an_answer_scores_what_the_table_says(scorer: str, answer: str, expected: str, worth: float) -> None:
    assert score(answer, [expected], scorer, choices_of(scorer)) == pytest.approx(worth)


def test_the_tables_cover_every_scorer() -> None:
    assert set(TABLES) == set(SCORERS)
    assert all(len(table) >= 15 for table in TABLES.values())


# ---------------------------------------------------------------- choice without a list of options


@pytest.mark.parametrize(
    ("answer", "expected", "worth"),
    [
        ("(B)", "B", 1),
        ("B. Paris", "B", 1),
        ("The answer is E.", "E", 1),
        ("Paris", "B", 0),
        ("Paris", "paris", 1),
    ],
)
def test_letters_are_read_without_knowing_the_options(answer: str, expected: str, worth: float) -> None:
    assert score(answer, [expected], "choice") == worth


def test_an_options_own_text_goes_before_letters() -> None:
    assert score("B", ["B"], "choice", ("B", "A")) == 1
    assert score("B", ["A"], "choice", ("B", "A")) == 0
    assert score("The answer is A dog.", ["A dog"], "choice", ("A cat", "A dog")) == 1


# ---------------------------------------------------------------- laws

ANSWERS = sorted({text for _, a, e, _ in CASES for text in (a, e) if len(text) < 1000})


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_answer_is_right_when_it_is_what_was_expected(scorer: str) -> None:
    wrong = [a for a in ANSWERS if score(a, [a], scorer, choices_of(scorer)) != 1]
    assert wrong == []


@pytest.mark.parametrize("word", ["391", "Paris", "PARIS", "a", "An", "the", "x1"])
@pytest.mark.parametrize("scorer", ["exact", "contains"])
def test_a_single_word_is_compared_like_one_with_marks_around_it(scorer: str, word: str) -> None:
    assert score(word, [f"“{word}”."], scorer) == score(f"{word}!", [word], scorer) == 1
    assert score(word, [f"{word}y"], scorer) == score(f"{word}y", [word], scorer) == 0


@pytest.mark.parametrize("scorer", SCORERS)
def test_scores_stay_between_0_and_1_and_all_but_f1_are_one_of_them(scorer: str) -> None:
    values = {
        score(a, [b], scorer, choices_of(scorer)) for a, b in itertools.product(ANSWERS[::3], ANSWERS[::2])
    }
    assert values >= {0.0, 1.0}
    assert all(0 <= v <= 1 for v in values)
    assert (values == {0.0, 1.0}) is (scorer != "f1")


@pytest.mark.parametrize("scorer", [s for s in SCORERS if s not in ("contains", "json")])
def test_scores_are_symmetric_where_neither_side_is_searched(scorer: str) -> None:
    for a, b in itertools.combinations(ANSWERS[::3], 2):
        choices = choices_of(scorer)
        assert score(a, [b], scorer, choices) == score(b, [a], scorer, choices), (a, b)


@pytest.mark.parametrize("scorer", SCORERS)
def test_equivalence_is_reflexive_and_symmetric(scorer: str) -> None:
    choices = choices_of(scorer)
    assert all(equivalent(a, a, scorer, choices) for a in ANSWERS)
    for a, b in itertools.combinations(ANSWERS[::4], 2):
        assert equivalent(a, b, scorer, choices) == equivalent(b, a, scorer, choices)


@pytest.mark.parametrize("scorer", SCORERS)
def test_more_expected_answers_never_lower_a_score(scorer: str) -> None:
    choices = choices_of(scorer)
    for a, b, c in zip(ANSWERS, ANSWERS[7:], ANSWERS[19:], strict=False):
        both = score(a, [b, c], scorer, choices)
        assert both == max(score(a, [b], scorer, choices), score(a, [c], scorer, choices))


def test_one_expected_text_is_not_taken_for_a_list_of_letters() -> None:
    assert score("P", "Paris", "exact") == 0
    assert score("Paris", "Paris", "exact") == 1


# ---------------------------------------------------------------- plurality


@pytest.mark.parametrize(
    ("scorer", "answers", "expected"),
    [
        ("exact", ["Paris", "London", "paris."], ("Paris", 2)),
        ("exact", ["b", "a", "a", "b"], ("b", 2)),  # a tie: seen first
        ("exact", ["x"], ("x", 1)),
        ("numeric", ["so 7", "8", "The answer is 7.", "8.00", "7.0"], ("so 7", 3)),
        ("numeric", ["no idea", "unknown", "5", "5"], ("5", 2)),
        ("choice", ["Paris", "(B)", "London", "A.", "b"], ("Paris", 3)),
        ("f1", ["big dog", "dog, big", "cat"], ("big dog", 2)),
        ("contains", ["London", "Paris", "It is Paris."], ("Paris", 2)),
        ("json", ['{"a": 1, "b": 2}', "?", '{"b": 2, "a": 1}'], ('{"a": 1, "b": 2}', 2)),
    ],
)
def test_the_commonest_answer_wins_as_it_was_first_worded(
    scorer: str, answers: list[str], expected: tuple[str, int]
) -> None:
    assert plurality(answers, scorer, choices_of(scorer)) == Plurality(*expected)


def test_no_answers_have_no_plurality() -> None:
    with pytest.raises(ValueError, match="no answers"):
        plurality([], "exact")


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "meant"),
    [("exat", "exact"), ("numerical", "numeric"), ("F1", "f1"), ("choices", "choice"), ("zzz", "")],
)
def test_an_unknown_scorer_is_a_usage_error_that_names_the_nearest(name: str, meant: str) -> None:
    for call in (
        lambda: score("a", ["a"], name),
        lambda: equivalent("a", "a", name),
        lambda: plurality(["a"], name),
    ):
        with pytest.raises(UsageError, match=f"unknown scorer '{name}'") as caught:
            call()
        assert ("did you mean" in caught.value.message) is bool(meant)
        assert meant in caught.value.message
        assert all(scorer in caught.value.hint for scorer in SCORERS)


# ---------------------------------------------------------------- against recorded judgements

DATA = Path(os.environ.get("AUTOMIX_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.mark.parametrize(("name", "least"), [("openai_gsm8k_gpt3", 1.0), ("zeroeval_gsm8k", 0.99)])
def test_numeric_agrees_with_the_judgements_recorded_with_real_answers(name: str, least: float) -> None:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no recorded answers at {path}; set AUTOMIX_DATA")
    same = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for tier in row["tiers"].values():
            if "answer" in tier and not tier["answer"].endswith("…"):
                same.append(score(tier["answer"], [str(row["gold"])], "numeric") == tier["correct"])
    assert len(same) > 1000
    assert sum(same) / len(same) >= least


@pytest.mark.parametrize("scorer", ["f1", "contains", "exact"])
@pytest.mark.parametrize(
    ("a", "b"),
    [("\u2212 40 degrees", "- 40 degrees"), ("Straße", "Strasse"), ("The Rome", "rome!"), ("a.b", "ab")],
)
def test_answers_of_equal_form_score_alike_whatever_is_expected(a: str, b: str, scorer: str) -> None:
    golds = (a, b, "Rome", "40 degrees", "Strasse")
    alike = all(score(a, [gold], scorer) == score(b, [gold], scorer) for gold in golds)
    assert alike or not has_equal_form(a, b, scorer)


@pytest.mark.parametrize(
    ("a", "b"), [("1", "1.000"), ("true", "```json\ntrue\n```"), ("[1, 2]", "[1,2.0]"), ('"é"', '"\\u00e9"')]
)
@pytest.mark.parametrize("gold", ["①", "１", "1.", "True", "［1, 2］", "é", "1", "[1,2]"])
def test_answers_with_equal_json_values_score_alike_beside_a_gold_answer_without(
    a: str, b: str, gold: str
) -> None:
    assert canonical(a, "json") == canonical(b, "json")
    assert score(a, [gold], "json") == score(b, [gold], "json")
    assert score(gold, [gold], "json") == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [("8.2 million", "8200000"), ("1.1e2", "110"), ("1.005e3", "1,005"), ("0.1 + 0.2 = 0.3", "0.3")],
)
def test_numbers_that_are_equal_on_paper_have_one_form(a: str, b: str) -> None:
    assert canonical(a, "numeric") == canonical(b, "numeric")
