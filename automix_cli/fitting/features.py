"""Questions as numbers: the features that query-side routers read.

    text ─▶ words, pairs of words, pieces of words ─▶ TF-IDF over a bounded vocabulary ─┐
        └─▶ form: length, digits, question word, code marks, choices … ─▶ standardised ─┴▶ Sparse
    embedding ─▶ unit length ─▶ dense

Vocabulary, document frequencies and the scales of the form come from the rows given to
`fit_text_features` and from nowhere else. What a text becomes depends on that text alone,
bit for bit, whatever other texts stand beside it.

The vocabulary is stored as 24-bit hashes instead of words. Each takes four characters, so that
a router fits into a profile, and a profile that is shared does not reveal the words of its
questions. Any other word of a text has one of V hashes by chance with probability V/2²⁴.

Everything here is NumPy and the standard library, because `ask` uses it: one question takes
well under a millisecond.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from automix_cli.errors import DataError
from automix_cli.pomdp.arrays import Floats, Ints

MAX_TEXT = 8_000  # characters that are read, so that a long context does not slow the decision down
_TEXTS_AT_ONCE = 2_048
_REMEMBERED_TEXTS = 8_192  # a few kilobytes each
_REMEMBERED_WORDS = 65_536
_PIECES = (3, 4, 5)  # lengths of the pieces of words, as in "char_wb" n-grams
_BITS = 24
_PIECE_FLAG = 1 << _BITS  # set in the keys of pieces; those of words and pairs lie below
_WORD = re.compile(r"\w+")
_DIGIT = re.compile(r"\d")


# ---------------------------------------------------------------- rows of numbers


class Sparse(NamedTuple):
    """A sparse matrix of n rows and `width` columns: `value[k]` stands at (`row[k]`, `column[k]`)."""

    n: int
    width: int
    row: Ints
    column: Ints
    value: Floats

    def times(self, weights: Floats) -> Floats:
        """The product with a dense matrix, n×K; each row's sum has an order of its own."""
        out = np.empty((self.n, weights.shape[1]))
        for k in range(weights.shape[1]):
            out[:, k] = np.bincount(self.row, self.value * weights[self.column, k], minlength=self.n)
        return out


FeatureRows = Sparse | Floats


def product(rows: FeatureRows, weights: Floats) -> Floats:
    """`rows` times `weights`, n×K, each row exactly as if it stood alone.

    A matrix product of BLAS rounds differently for other numbers of rows, and a decision
    could then depend on what else is in the batch.
    """
    if isinstance(rows, Sparse):
        return rows.times(weights)
    out: Floats = np.array([row @ weights for row in rows]).reshape(len(rows), weights.shape[1])
    return out


def unit_rows(table: Floats) -> Floats:
    """Rows scaled to length one; a row of zeros stays."""
    lengths = np.sqrt((table * table).sum(axis=1, keepdims=True))
    units: Floats = table / np.where(lengths > 0, lengths, 1.0)
    return units


def round_digits(values: ArrayLike, digits: int = 5) -> Floats:
    """Round to the significant digits that a profile stores."""
    flat = [float(f"{v:.{digits}g}") for v in np.ravel(np.asarray(values, dtype=float))]
    return np.array(flat).reshape(np.shape(values))


# ---------------------------------------------------------------- bytes as text


def pack(values: NDArray[Any]) -> str:
    """The bytes of an array in base64.

    Example:
        >>> pack(np.array([1, -1], dtype=np.int8))
        'Af8='
    """
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def unpack(text: Any, dtype: str, *shape: int) -> NDArray[Any]:
    """The array that `pack` wrote.

    Raises:
        DataError: when the text is not base64, or holds more or less than the shape needs.
    """
    try:
        data = base64.b64decode(text, validate=True)
        return np.frombuffer(data, dtype=dtype).reshape(shape)
    except (binascii.Error, ValueError, TypeError) as exc:
        raise DataError(f"the query-side router cannot be read: packed numbers do not fit ({exc})") from exc


class Quantised(NamedTuple):
    """A matrix kept in one byte an entry: column j is `steps[:, j]·scale[j]`."""

    steps: NDArray[np.int8]
    scale: Floats

    @classmethod
    def of(cls, matrix: Floats) -> Quantised:
        """The nearest such matrix."""
        scale = round_digits(np.abs(matrix).max(axis=0, initial=0.0) / 127)
        steps = np.rint(matrix / np.where(scale > 0, scale, 1.0))
        return cls(np.clip(steps, -127, 127).astype(np.int8), scale)

    @property
    def matrix(self) -> Floats:
        """The matrix in floating point."""
        return self.steps.astype(float) * self.scale

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"steps": pack(self.steps), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], rows: int) -> Quantised:
        """Read the JSON form of a matrix with so many rows."""
        scale = finite(data["scale"])
        return cls(unpack(data["steps"], "int8", rows, len(scale)), scale)


def finite(values: Any, *shape: int) -> Floats:
    """Numbers read from a profile, of this shape if one is given.

    Raises:
        DataError: for what is no number, is not finite or has another shape.
    """
    try:
        table = np.array(values, dtype=float)
    except (ValueError, TypeError) as exc:
        raise DataError(f"the query-side router cannot be read: {exc}") from exc
    if not np.isfinite(table).all() or (shape and table.shape != shape):
        raise DataError(f"the query-side router cannot be read: expected finite numbers of shape {shape}")
    return table


# ---------------------------------------------------------------- form

_QUESTION_WORDS = ("what", "who", "whom", "whose", "when", "where", "which", "why", "how")
_FIRST_QUESTION_WORD = re.compile(rf"\b(?:{'|'.join(_QUESTION_WORDS)})\b")
_DIGITS = re.compile(r"\d+")
_CHOICE = re.compile(r"^\s*\(?[A-Ja-j][.)]", re.MULTILINE)
_CODE_MARKS, _FORMULA_MARKS = "`{};=<>()[]", "+-*/^=$%\\"
FORM = 18 + len(_QUESTION_WORDS)  # length of `form`


def form(text: str) -> list[float]:
    """Return the counts, shares and marks that describe the look of a question.

    Example:
        >>> len(form("What is 2 + 2?")) == FORM
        True
    """
    excerpt = text[:MAX_TEXT]
    words, size = excerpt.split(), max(len(excerpt), 1)
    lower = excerpt.casefold()
    first = _FIRST_QUESTION_WORD.search(lower)
    counts = (
        len(text),
        len(words),
        excerpt.count("\n"),
        len(_DIGITS.findall(excerpt)),
        excerpt.count(","),
        excerpt.count("."),
        excerpt.count('"'),
        sum(map(excerpt.count, _CODE_MARKS)),
        sum(map(excerpt.count, _FORMULA_MARKS)),
        len(_CHOICE.findall(excerpt)),
    )
    shares = (
        sum(map(len, words)) / max(len(words), 1),
        sum(map(str.isdigit, excerpt)) / size,
        sum(map(str.isupper, excerpt)) / size,
        0.0 if excerpt.isascii() else sum(c > "\x7f" for c in excerpt) / size,
    )
    marks = ("?" in excerpt, excerpt.rstrip().endswith("?"), "__" in excerpt, first is None)
    question_word = first[0] if first else ""
    return [
        *np.log1p(counts).tolist(),
        *shares,
        *map(float, marks),
        *(float(question_word == w) for w in _QUESTION_WORDS),
    ]


# ---------------------------------------------------------------- words


def _key(text: str, kind: int) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"), kind) & (_PIECE_FLAG - 1)


@lru_cache(maxsize=_REMEMBERED_WORDS)
def _word_keys(word: str) -> tuple[int, ...]:
    """Keys of a word, and of its pieces with a blank on either side."""
    text = f" {word} "
    pieces = (text[i : i + size] for size in _PIECES for i in range(len(text) - size + 1))
    return (_key(word, 1), *(_key(piece, 2) | _PIECE_FLAG for piece in pieces))


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def _counted_keys(text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Keys of a text's words, pairs of words and pieces, rising, and how often each occurs.

    All digits count as zeros, so that numbers of one length are one word. Texts are remembered, because
    each of many fits on parts of the same rows reads them again.
    """
    words = _WORD.findall(_DIGIT.sub("0", text[:MAX_TEXT].casefold()))
    keys = [_key(f"{a} {b}", 1) for a, b in pairwise(words)]
    for word in words:
        keys += _word_keys(word)
    different, times = np.unique(np.array(keys, dtype=np.int32), return_counts=True)
    return different, times.astype(np.int32)


class _KeyCounts(NamedTuple):
    """How often each key stands in each of some texts, by text, then by key."""

    row: Ints
    key: Ints
    times: Ints


def _count_keys(texts: Sequence[str], vocabulary: Ints | None = None) -> Iterator[_KeyCounts]:
    """Count the keys chunk by chunk; those of a vocabulary alone, if one is given."""
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        text_keys = [_counted_keys(text) for text in texts[start : start + _TEXTS_AT_ONCE]]
        row = np.repeat(np.arange(start, start + len(text_keys)), [len(keys) for keys, _ in text_keys])
        key = np.concatenate([keys for keys, _ in text_keys]).astype(np.intp)
        times = np.concatenate([own for _, own in text_keys]).astype(np.intp)
        if vocabulary is None:
            yield _KeyCounts(row, key, times)
            continue
        is_entry = np.append(vocabulary, -1)[np.searchsorted(vocabulary, key)] == key
        yield _KeyCounts(row[is_entry], key[is_entry], times[is_entry])


class TextFeatures(Struct, frozen=True, eq=False):
    """TF-IDF of a vocabulary, and the form, of any text.

    A text's words and pairs have, as a vector, length one, and so have its pieces: tf is
    1 + ln(count), idf = 1 + ln((1 + n)/(1 + texts with it)). The numbers of its form are
    standardised, cut at ±3 and divided by √FORM, which gives the three parts about the same weight.

    Attributes:
        vocabulary: V keys, rising: words and pairs, then pieces.
        idf: V.
        form_mean, form_spread: FORM each.
    """

    vocabulary: Ints
    idf: Floats
    form_mean: Floats
    form_spread: Floats

    @property
    def width(self) -> int:
        """Columns of a row: V + FORM."""
        return len(self.vocabulary) + FORM

    def of(self, texts: Sequence[str]) -> Sparse:
        """The rows of some texts."""
        chunks = list(_count_keys(texts, self.vocabulary))
        if not chunks:
            return Sparse(0, self.width, np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
        row, key, times = (np.concatenate(part) for part in zip(*chunks, strict=True))
        column = np.searchsorted(self.vocabulary, key)
        value = (1 + np.log(times)) * self.idf[column]
        part = 2 * row + (key >= _PIECE_FLAG)
        squares = np.bincount(part, value * value, minlength=2 * len(texts))
        forms = self._standardise(texts)
        n, wide = forms.shape
        return Sparse(
            n,
            self.width,
            np.concatenate([row, np.repeat(np.arange(n), wide)]),
            np.concatenate([column, np.tile(np.arange(wide) + len(self.vocabulary), n)]),
            np.concatenate([value / np.sqrt(squares[part]), forms.ravel()]),
        )

    def _standardise(self, texts: Sequence[str]) -> Floats:
        table = (_forms(texts) - self.form_mean) / self.form_spread
        forms: Floats = np.clip(table, -3, 3) / np.sqrt(FORM)
        return forms

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: three bytes a key, one byte an idf."""
        low = (self.vocabulary & (_PIECE_FLAG - 1)).astype("<u4")
        return {
            "keys": pack(low.view(np.uint8).reshape(-1, 4)[:, :3]),
            "words": int((self.vocabulary < _PIECE_FLAG).sum()),
            "idf": pack(_idf_steps(self.idf)),
            "form_mean": self.form_mean.tolist(),
            "form_spread": self.form_spread.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TextFeatures:
        """Read the JSON form."""
        idf = unpack(data["idf"], "uint8", -1)
        low = unpack(data["keys"], "uint8", len(idf), 3).astype(np.intp) @ (1 << np.array([0, 8, 16]))
        key = low + _PIECE_FLAG * (np.arange(len(idf)) >= int(data["words"]))
        spread = finite(data["form_spread"], FORM)
        if (np.diff(key) <= 0).any() or (spread <= 0).any():
            raise DataError("the query-side router cannot be read: keys must rise, spreads be above 0")
        return cls(key, _IDF_STEP * idf.astype(float) + 1, finite(data["form_mean"], FORM), spread)


_IDF_STEP = 0.06  # up to 1 + 255 steps = 16.3: more texts than anyone has


def _idf_steps(idf: Floats) -> NDArray[np.uint8]:
    return np.clip(np.rint((idf - 1) / _IDF_STEP), 0, 255).astype(np.uint8)


def _forms(texts: Sequence[str]) -> Floats:
    return np.array([_remembered_form(text) for text in texts]).reshape(len(texts), FORM)


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def _remembered_form(text: str) -> tuple[float, ...]:
    return tuple(form(text))


def fit_text_features(texts: Sequence[str], limit: int) -> TextFeatures:
    """Learn the vocabulary from training texts: the most frequent entries, at most `limit`.

    Half are words and pairs, half pieces of words, each in two texts or more. The choice
    looks at no label, so rows may be left out of a fit on these features without a new one.

    Args:
        texts: training texts only.
        limit: the most entries of the vocabulary.
    """
    keys = [chunk.key for chunk in _count_keys(texts)]
    key, frequency = np.unique(np.concatenate([*keys, np.empty(0, np.intp)]), return_counts=True)
    sides = (key < _PIECE_FLAG, key >= _PIECE_FLAG)
    places = np.sort(np.concatenate([_most_frequent(key, frequency, side, limit // 2) for side in sides]))
    idf = 1 + np.log((1 + len(texts)) / (1 + frequency[places]))
    forms = _forms(texts)
    spread = forms.std(axis=0) if len(texts) else np.zeros(FORM)
    return TextFeatures(
        key[places],
        _IDF_STEP * _idf_steps(idf).astype(float) + 1,
        round_digits(forms.mean(axis=0)) if len(texts) else np.zeros(FORM),
        round_digits(np.where(spread > 1e-9, spread, 1.0)),
    )


def _most_frequent(key: Ints, frequency: Ints, side: NDArray[np.bool_], limit: int) -> Ints:
    """Places of the `limit` most frequent keys of one side; of equals the smaller key."""
    usable = np.flatnonzero(side & (frequency >= 2))
    order = np.lexsort((key[usable], -frequency[usable]))
    return usable[order[:limit]]


# ---------------------------------------------------------------- embeddings


class VectorFeatures(Struct, frozen=True, eq=False):
    """Embeddings less the mean of the training rows, scaled to unit length.

    Embeddings of one kind of text lie close together in a corner of their space. Without their
    mean they differ by what the questions are about. The mean, like a vocabulary, uses no label.

    Attributes:
        centre: width×1, the mean of the training rows' embeddings, themselves of unit length.
        model: the name of the embedding model; "" where it is unknown.
    """

    centre: Quantised
    model: str = ""

    @property
    def width(self) -> int:
        """How many numbers an embedding has."""
        return len(self.centre.steps)

    def of(self, vectors: ArrayLike) -> Floats:
        """The rows of some embeddings, n×width.

        Raises:
            DataError: for vectors of another width, or numbers that are not finite.
        """
        table = np.asarray(vectors, dtype=float)
        if table.ndim != 2 or table.shape[1] != self.width or not np.isfinite(table).all():
            whose = f" of {self.model}" if self.model else ""
            raise DataError(
                f"expected embeddings{whose} of {self.width} finite numbers, got shape {table.shape}",
                hint="automix calibrate --embed-model fits the router anew",
            )
        return unit_rows(unit_rows(table) - self.centre.matrix[:, 0])

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: a byte for each number of the centre."""
        return {"embedding": self.width, "model": self.model, "centre": self.centre.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VectorFeatures:
        """Read the JSON form."""
        centre = Quantised.from_dict(data["centre"], int(data["embedding"]))
        finite(centre.scale, 1)
        if not isinstance(data["model"], str):
            raise DataError("the query-side router cannot be read: the embedding model has no name")
        return cls(centre, data["model"])


def fit_vector_features(vectors: ArrayLike, model: str = "") -> VectorFeatures:
    """Learn the mean of training embeddings, n×width."""
    table = np.asarray(vectors, dtype=float)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise DataError(f"expected finite embeddings, one a row, got shape {table.shape}")
    return VectorFeatures(Quantised.of(unit_rows(table).mean(axis=0)[:, None]), model)
