"""Questions that are nearly copies of each other stay together where routers read the questions.

    texts ─▶ links (one word or number apart, …) ─▶ components ─▶ near-copies │ templates in blocks

A router that reads questions knows a question when it has learned from one that differs in a word
or a number. Where the answers' scores were copied along, it looks good, and knows nothing of new
questions. So near-copies are one group, as exact copies are: in folds, cuts and resamples.

A template ("What is 17 * 23?" with other numbers) links hundreds of questions that are different
ones. As one group they could never be judged. So what links more questions than anybody copies is
cut into blocks: the questions that share the rarest wording first, and no block so large that too
few groups would remain.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from msgspec.structs import replace

from automix_cli.data.duplicates import normal_form, similar_pairs, tokens_of
from automix_cli.data.groups import FEWEST_GROUPS, LARGEST_SHARE, Grouping
from automix_cli.data.traces import TraceTable
from automix_cli.pomdp.arrays import Ints

MOST_COPIES = 16  # of a question; what links more is a template
SIMILAR = 0.8  # Jaccard similarity of shingles from which on questions are near-copies
SHINGLED_ROWS = 50_000  # in more rows, shingles are not compared: it would take too long
_MOST_WORDS = 60  # of longer questions a changed word is found by shingles
_FEWEST_WORDS = 5  # of shorter ones it makes another question
_FEWEST_BLOCKS = 2 * FEWEST_GROUPS  # into which a file of one template is cut

_NUMERAL = re.compile(r"\d+")


def join_near_copies(table: TraceTable, *, cut_templates: bool = True) -> TraceTable:
    """Group the rows of a table by near-copies of questions; groups that it has stay together.

    Args:
        table: the rows.
        cut_templates: whether alike questions of a template are grouped in blocks; where the rows are
            divided already, they are taken for different questions.
    """
    grouping = group_near_copies([str(text) for text in table.texts], table.grouping, cut_templates)
    return replace(table, grouping=grouping)


def group_near_copies(texts: Sequence[str], grouping: Grouping, cut_templates: bool = True) -> Grouping:
    """Join groups of rows whose questions are near-copies; blank texts are like no other.

    Example:
        >>> texts = ["Who wrote the novel Dune?", "Who wrote that novel Dune?", "How far is the Moon?"]
        >>> grouping = Grouping.of(np.array([5, 7, 9], dtype=np.uint64))
        >>> group_near_copies(texts, grouping).groups.tolist()
        [0, 0, 1]
    """
    links, count = _links_of_groups(texts, grouping), len(grouping)
    components, blocks = _Blocks(count), _Blocks(count)
    for link in links:
        components.join(link, count)
    is_template = components.sizes() > min(MOST_COPIES, LARGEST_SHARE * count)
    most = max(2, min(MOST_COPIES, count // _FEWEST_BLOCKS)) if cut_templates else 1
    for link in links:
        blocks.join(link, most if is_template[link[0]] else count)
    first = blocks.first_of_each()
    if len(np.unique(first)) == count:
        return grouping
    by_copies = Grouping.of(grouping.keys[first][grouping.groups], grouping.row_keys)
    return replace(by_copies, joins_alike=True)


class _Blocks:
    """Groups that are pairs_of_groups step by step into blocks."""

    def __init__(self, groups: int) -> None:
        self._parent = list(range(groups))
        self._size = [1] * groups

    def join(self, groups: Sequence[int], most: int) -> None:
        """Join groups in turn, and begin another block where one would hold more than `most` of them."""
        block = self._find(groups[0])
        for group in groups[1:]:
            other = self._find(group)
            if other == block:
                continue
            if self._size[block] + self._size[other] > most:
                block = other
                continue
            block, other = min(block, other), max(block, other)
            self._parent[other] = block
            self._size[block] += self._size[other]

    def _find(self, group: int) -> int:
        while self._parent[group] != group:
            self._parent[group] = group = self._parent[self._parent[group]]
        return group

    def first_of_each(self) -> Ints:
        """The first group in the block of each group."""
        return np.array([self._find(group) for group in range(len(self._parent))], dtype=np.intp)

    def sizes(self) -> Ints:
        """How many groups are in the block of each group."""
        return np.array(self._size, dtype=np.intp)[self.first_of_each()]


# ---------------------------------------------------------------- links


def _links_of_groups(texts: Sequence[str], grouping: Grouping) -> list[tuple[int, ...]]:
    """What links groups: the closest kind first, of each kind those first that the fewest share.

    Neither the order of the rows nor that of the links of one size changes anything, because groups
    are numbered by what they ask.
    """
    groups_of: dict[str, set[int]] = defaultdict(set)
    for text, group in zip(texts, grouping.groups.tolist(), strict=True):
        if form := normal_form(text):
            groups_of[form].add(group)
    forms = sorted(groups_of, key=lambda form: (min(groups_of[form]), form))
    own = [groups_of[form] for form in forms]
    ordered: list[tuple[int, ...]] = [tuple(sorted(groups)) for groups in own if len(groups) > 1]
    for kind in (_one_word_apart(forms), _shingles_alike(forms, len(texts)), _numbers_apart(forms)):
        links = {tuple(sorted(set().union(*(own[i] for i in link)))) for link in kind}
        ordered += sorted((link for link in links if len(link) > 1), key=lambda link: (len(link), link))
    return ordered


def _one_word_apart(forms: Sequence[str]) -> Iterable[Sequence[int]]:
    """Questions that are equal without one of their words; also one that is another with a word more."""
    keys: list[int] = []
    places: list[int] = []
    for i, form in enumerate(forms):
        tokens = tokens_of(form)
        if _FEWEST_WORDS <= len(tokens) <= _MOST_WORDS:
            own = {hash(text) for text in _with_one_word_less(tokens)}
            keys += own
            places += [i] * len(own)
    return _equal_keys(np.array(keys, dtype=np.int64), np.array(places, dtype=np.intp))


def _with_one_word_less(tokens: Sequence[str]) -> Iterator[str]:
    """Yield a text, and the text without each of its words in turn."""
    whole = " ".join((*tokens, ""))
    yield whole
    start = 0
    for token in tokens:
        end = start + len(token) + 1
        yield whole[:start] + whole[end:]
        start = end


def _equal_keys(keys: Ints, places: Ints) -> Iterator[Sequence[int]]:
    """The places that share a key, for each key of several."""
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], places[order]
    for part in np.split(places, np.flatnonzero(np.diff(keys)) + 1):
        if len(part) > 1:
            yield part.tolist()


def _shingles_alike(forms: Sequence[str], rows: int) -> Iterator[Sequence[int]]:
    if rows <= SHINGLED_ROWS:
        yield from similar_pairs(forms, SIMILAR)


def _numbers_apart(forms: Sequence[str]) -> Iterator[Sequence[int]]:
    """Questions that are equal but for their numbers."""
    alike = defaultdict(list)
    for i, form in enumerate(forms):
        form_without_numbers = _NUMERAL.sub("0", form)
        if form_without_numbers != form:
            alike[form_without_numbers].append(i)
    yield from (places for places in alike.values() if len(places) > 1)
