"""Questions on both sides of a split: equal ones, near ones, and nobody's twin."""

import random

import pytest

from automix_cli.data.duplicates import Duplicates, near_duplicates, normal_form, shingles


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Who wrote Dune?", "  who WROTE\tdune? ", True),
        ("café", "cafe\N{COMBINING ACUTE ACCENT}", True),
        ("3 + 4", "3 - 4", False),
        ("x² = 4", "x2 = 4", False),
        ("A. 12\nB. 13", "A. 12 B. 13", True),
    ],
)
def test_only_case_and_blanks_and_composition_do_not_matter(one: str, other: str, same: bool) -> None:
    assert (normal_form(one) == normal_form(other)) is same


def random_texts(rng: random.Random, n: int) -> list[str]:
    return [" ".join(rng.choice("abcd") for _ in range(rng.randint(1, 14))) for _ in range(n)]


def by_comparing_all(train: list[str], test: list[str], threshold: float) -> dict[int, float]:
    """Test row to its highest similarity, where that is high enough."""
    found = {}
    for i, text in enumerate(test):
        own = shingles(text)
        best = max(
            1.0 if normal_form(text) == normal_form(other) else len(own & known) / len(own | known)
            for other in train
            for known in [shingles(other)]
        )
        if best >= threshold:
            found[i] = best
    return found


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_found_is_what_comparing_all_pairs_finds(seed: int, threshold: float) -> None:
    rng = random.Random(seed)
    train, test = random_texts(rng, 60), random_texts(rng, 60)
    found = near_duplicates(train, test, threshold)
    assert {t.test: t.similarity for t in (*found.exact, *found.near)} == by_comparing_all(
        train, test, threshold
    )
    for twin in found.exact:
        assert normal_form(train[twin.train]) == normal_form(test[twin.test])
    for twin in found.near:
        a, b = shingles(train[twin.train]), shingles(test[twin.test])
        assert len(a & b) / len(a | b) == twin.similarity


def test_rows_without_a_question_are_nobodys_twins() -> None:
    assert near_duplicates(["", " ", "a b c"], ["", "\n"]) == Duplicates((), (), 2)


def test_an_empty_side_has_no_duplicates_and_no_share() -> None:
    assert near_duplicates([], ["a"]).share == 0.0
    assert near_duplicates(["a"], []).share == 0.0


def test_the_share_counts_exact_and_near_twins() -> None:
    long = "how many apples are left in the basket when anna takes three of the ten there were"
    found = near_duplicates([long, "who?"], ["WHO?", f"{long} now", "something else", "again"])
    assert [len(found.exact), len(found.near), found.share] == [1, 1, 0.5]
