"""Query-side routers: which tier to ask, decided from the question alone.

    fit_router(kind, texts, scores, costs) ─▶ FittedRouter(router, probs, cells)
    router.read(texts) ─▶ Reading(probs, cells) ─▶ router.choose(probs, rule) ─▶ a tier per question

These are the routers of "Harnessing the Power of Multiple Minds: Lessons Learned from LLM
Routing" (Srivatsa, Maurya and Kochmar 2024, arXiv 2405.00467). There a question's label is the
set of models that answer it right, and a fine-tuned encoder gives each model a confidence; here
linear models on TF-IDF and on the question's form do, in a fraction of a millisecond, or on
embeddings that somebody else has made (`embeddings`, which look at no label either).

- `separate`: a classifier per tier, a logistic regression with weights of its own.
- `multilabel`: one model for all tiers at once. Each tier's weights are a common part plus
  its own, and all are fitted together, so that tiers learn from each other's answers
  (Evgeniou and Pontil, "Regularized multi-task learning", KDD 2004).
- `kmeans`: clusters of questions; the paper sends each cluster to the tier best on it.
- `knn`: how the tiers did on the most similar training questions (as in RouterBench,
  arXiv 2403.12031).

All say P(tier is right | question), calibrated on training folds. What they choose is `choose`,
which holds the paper's four selection policies. How far no choice among what a router takes for
capable can go is `bound`; `metrics.oracle` is the same over all tiers.

Only training rows are ever looked at, and labels only through folds in which equal questions
stay together: `FittedRouter.probs` of a row comes from models that never saw it. Fitting needs
scikit-learn; using a router needs NumPy alone. A router keeps within `budget` characters of
JSON, so that a profile can hold it, and is rounded to what it keeps before anything is measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from automix_cli.data.duplicates import normal_form
from automix_cli.data.oracle import Choice, oracle
from automix_cli.errors import DataError, UsageError
from automix_cli.fitting.features import (
    FeatureRows,
    Quantised,
    Sparse,
    TextFeatures,
    VectorFeatures,
    finite,
    fit_text_features,
    fit_vector_features,
    pack,
    product,
    rounded,
    unit_rows,
    unpack,
)
from automix_cli.pomdp.arrays import Bools, Floats, Ints

QueryRouterKind = Literal["multilabel", "separate", "kmeans", "knn"]
Selection = Literal["argmax", "random", "prediction", "sorted"]

QUERY_ROUTER_KINDS: tuple[QueryRouterKind, ...] = get_args(QueryRouterKind)
SELECTIONS: tuple[Selection, ...] = get_args(Selection)
BUDGET = 48_000  # characters of JSON; a profile holds 64 KiB in all
FOLDS = 5
MOST_ROWS = 20_000  # that are fitted on; with more, the vocabulary is the limit
MOST_CELLS = 8
CAPABLE = 0.5  # from this probability on a tier is predicted to be right
DOUBT = 0.6  # up to this highest probability `random` is in doubt
SHORTLIST = 3  # and draws among so many
LEAST_ROWS = 5  # of right and of wrong answers, for a classifier to look at questions
_REGRESSED: tuple[Selection, ...] = ("prediction", "sorted")
_PSEUDO_ROWS = 2.0  # with which small groups are drawn to all rows
_SURE = 1e-3  # no probability is nearer to 0 or 1
_DIMENSIONS = 16  # of the space in which clusters and neighbours are looked for
_MOST_ENTRIES = 3_000
_STRENGTHS = (0.1, 0.3, 1.0)  # prior variances of a weight, of which folds choose
_VECTOR_STRENGTHS = (0.3, 1.0, 3.0, 10.0)  # of an embedding, whose single numbers are small
_TUNING_ROWS = 2_500  # on which they choose
_CLUSTERS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_NEIGHBOURS = (8, 16, 32, 64, 128)


class Reading(NamedTuple):
    """What a router sees in n questions: P(right), n×N, and the class of each, n."""

    probs: Floats
    classes: Ints


# ---------------------------------------------------------------- the models


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """logit P(right) = row·weights + intercept, calibration included; N columns."""

    weights: Quantised
    intercept: Floats

    def probs(self, rows: FeatureRows) -> Floats:
        """P(right), n×N."""
        return sigmoid(product(rows, self.weights.matrix) + self.intercept)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"weights": self.weights.to_dict(), "intercept": self.intercept.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], width: int, tiers: int) -> Linear:
        """Read the JSON form, for rows of so many columns."""
        weights = Quantised.from_dict(data["weights"], width)
        finite(weights.scale, tiers)
        return cls(weights, finite(data["intercept"], tiers))


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """K centres in a space of few dimensions, and each tier's rate of right answers around them.

    Attributes:
        axes: width×D, onto which rows are projected (latent semantic analysis).
        centres: K×D.
        rates: K×N.
    """

    axes: Quantised
    centres: Floats
    rates: Floats

    def cells(self, rows: FeatureRows) -> Ints:
        """The nearest centre of each row."""
        return nearest(_placed(rows, self.axes), self.centres)

    def probs(self, rows: FeatureRows) -> Floats:
        """The rates around that centre, n×N."""
        return self.rates[self.cells(rows)]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "axes": self.axes.to_dict(),
            "centres": self.centres.tolist(),
            "rates": self.rates.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], width: int, tiers: int) -> Clusters:
        """Read the JSON form, for rows of so many columns."""
        axes, rates = Quantised.from_dict(data["axes"], width), finite(data["rates"])
        finite(rates, max(1, len(rates)), tiers)
        return cls(axes, finite(data["centres"], len(rates), len(axes.scale)), rates)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Training rows in a space of few dimensions; the k most similar (cosine) are asked.

    Attributes:
        axes: width×D, as in `Clusters`.
        points: R×D, steps of 1/127.
        right: R×N.
        base: N, the rates of all, which count as two neighbours more.
        k: how many are asked.
    """

    axes: Quantised
    points: NDArray[np.int8]
    right: Bools
    base: Floats
    k: int

    def probs(self, rows: FeatureRows) -> Floats:
        """The neighbours' rate of right answers, n×N."""
        placed = _placed(rows, self.axes)
        near = np.concatenate([_most_similar(part, self.points, self.k) for part in _parts(placed)])
        rates: Floats = (self.right[near].sum(axis=1) + _PSEUDO_ROWS * self.base) / (self.k + _PSEUDO_ROWS)
        return rates

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "axes": self.axes.to_dict(),
            "points": pack(self.points),
            "right": pack(np.packbits(self.right, axis=1)),
            "base": self.base.tolist(),
            "k": self.k,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], width: int, tiers: int) -> Neighbours:
        """Read the JSON form, for rows of so many columns."""
        axes = Quantised.from_dict(data["axes"], width)
        points = unpack(data["points"], "int8", -1, len(axes.scale))
        bits = unpack(data["right"], "uint8", len(points), (tiers + 7) // 8)
        right = np.unpackbits(bits, axis=1, count=tiers).astype(bool)
        k = int(data["k"])
        if not 1 <= k <= len(points):
            raise DataError(f"the query-side router cannot be read: {k} neighbours of {len(points)} rows")
        return cls(axes, points, right, finite(data["base"], tiers), k)


Classifier = Linear | Clusters | Neighbours
_MODELS: dict[str, type[Linear] | type[Clusters] | type[Neighbours]] = {
    "multilabel": Linear,
    "separate": Linear,
    "kmeans": Clusters,
    "knn": Neighbours,
}


def sigmoid(logits: Floats) -> Floats:
    """1/(1 + e^-x), without overflow."""
    small = np.exp(-np.abs(logits))
    values: Floats = np.where(logits >= 0, 1.0, small) / (1 + small)
    return values


def logit(probs: Floats) -> Floats:
    """The inverse of `sigmoid`."""
    values: Floats = np.log(probs) - np.log1p(-probs)
    return values


def nearest(points: Floats, centres: Floats) -> Ints:
    """The centre nearest to each point; of equally near ones the first."""
    distances = np.array([((points - centre) ** 2).sum(axis=1) for centre in centres])
    place: Ints = distances.argmin(axis=0)
    return place


def _placed(rows: FeatureRows, axes: Quantised) -> Floats:
    """Rows on the unit sphere of the space."""
    return unit_rows(product(rows, axes.matrix))


def _parts(table: Floats, size: int = 1_024) -> Iterable[Floats]:
    """The rows of a table, so many at a time; one empty part when there are none."""
    return (table[i : i + size] for i in range(0, max(len(table), 1), size))


def _most_similar(placed: Floats, points: NDArray[np.int8], k: int, hidden: Bools | None = None) -> Ints:
    """The k points of highest cosine for each row, n×k, most similar first, equals by place.

    Summed one dimension after the other, so that a row's neighbours do not depend, through
    rounding, on the other rows. `hidden` marks, n×R, the points that a row may not see.
    """
    similarity = np.zeros((len(placed), len(points)))
    for d in range(points.shape[1]):
        similarity += placed[:, d, None] * points[:, d]
    similarity /= np.sqrt((points.astype(float) ** 2).sum(axis=1).clip(min=1.0))
    if hidden is not None:
        similarity[hidden] = -np.inf
    order: Ints = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return order


# ---------------------------------------------------------------- the router


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryRouter:
    """A fitted router for N tiers, cheapest first.

    Attributes:
        kind: which of the four.
        seed: of the draws of `random`.
        features: what turns questions into rows.
        model: what turns rows into probabilities.
        rewards: N×2, the expected score of a wrong and of a right answer.
        costs: N, planned cost of an answer, USD.
        targets: of each of the rules `prediction` and `sorted`, an intercept and N coefficients;
            empty where the kind has no rule but `argmax`.
        centres: K×N, the cells of logit vectors; empty for `kmeans`, whose clusters are the cells.
    """

    kind: QueryRouterKind
    seed: int
    features: TextFeatures | VectorFeatures
    model: Classifier
    rewards: Floats
    costs: Floats
    targets: Mapping[Selection, Floats]
    centres: Floats

    @property
    def n_classes(self) -> int:
        """How many classes of questions the router tells apart, for the prior of `pomdp+query`."""
        return len(self.model.centres) if isinstance(self.model, Clusters) else len(self.centres)

    @property
    def rules(self) -> tuple[Selection, ...]:
        """The selection rules this kind has."""
        return SELECTIONS if self.targets else SELECTIONS[:1]

    @property
    def embed_model(self) -> str | None:
        """Whose embeddings it reads; None where it reads the texts themselves."""
        return self.features.model if isinstance(self.features, VectorFeatures) else None

    def read(self, texts: Sequence[str], *, embeddings: ArrayLike | None = None) -> Reading:
        """Look at n questions: as texts, or as embeddings where the router was fitted on these.

        Raises:
            DataError: for no embeddings, or others than the router was fitted on.
        """
        rows = self._rows(texts, embeddings)
        probs = np.clip(self.model.probs(rows), _SURE, 1 - _SURE)
        if isinstance(self.model, Clusters):
            return Reading(probs, self.model.cells(rows))
        return Reading(probs, nearest(logit(probs), self.centres))

    def predict(self, texts: Sequence[str], *, embeddings: ArrayLike | None = None) -> Floats:
        """P(tier is right | question), n×N."""
        return self.read(texts, embeddings=embeddings).probs

    def _rows(self, texts: Sequence[str], embeddings: ArrayLike | None) -> FeatureRows:
        if isinstance(self.features, TextFeatures):
            return self.features.of(texts)
        if embeddings is None:
            raise DataError("this query-side router reads embeddings, and was given texts alone")
        return self.features.of(embeddings)

    def expected(self, probs: Floats) -> Floats:
        """The expected score of each tier, n×N: graded scorers keep their meaning."""
        wrong, right = self.rewards.T
        scores: Floats = wrong + (right - wrong) * probs
        return scores

    def choose(
        self,
        probs: Floats,
        rule: Selection = "argmax",
        *,
        cost_weight: float = 0.0,
        costs: ArrayLike | None = None,
        ids: Sequence[object] | None = None,
    ) -> Ints:
        """The tier that a selection rule picks for each question; ties go to the cheaper tier.

        The rules are those of the paper's released code, with what keeps them from a decision
        mended, and with a cost_weight λ (its cost 0) so that each draws a curve:

        - `argmax`: the highest expected score - λ·cost.
        - `random`: the same, unless the highest probability is at most 0.6; then one of the
          three tiers of highest expected score - λ·cost, drawn by SHA-256(seed, id).
        - `prediction`: a regression on all probabilities predicts what the probability of the
          cheapest right tier is (0.5 if none is right); the tier whose probability is nearest,
          that is of least |p - predicted| + λ·cost. (The released code takes the largest p -
          predicted, which is argmax whatever is predicted, and fits on test labels.)
        - `sorted`: `prediction` with the tiers in the order of their rates of right answers,
          lowest first: the weakest tier that suffices.

        Args:
            probs: n×N, of `predict`, or those of `FittedRouter` for the training rows.
            rule: one of `rules`.
            cost_weight: λ, quality given up per dollar.
            costs: N or n×N, planned costs in USD; those of fitting when None.
            ids: the questions' ids, which `random` needs.

        Raises:
            UsageError: for a rule that this kind does not have.
        """
        if rule not in self.rules:
            raise UsageError(f"{self.kind} has no rule {rule!r}", hint=f"it has: {', '.join(self.rules)}")
        price = self._prices(costs, len(probs))
        scores = self.expected(probs)
        if rule in self.targets:
            predicted = self.targets[rule][0] + probs @ self.targets[rule][1:]
            return oracle(-np.abs(probs - predicted[:, None]), price, cost_weight).tier
        best = oracle(scores, price, cost_weight).tier
        if rule == "argmax":
            return best
        if ids is None:
            raise UsageError("the rule random draws by the questions' ids, and has none")
        order = np.lexsort((price, -(scores - cost_weight * price)), axis=1)[:, :SHORTLIST]
        drawn = order[np.arange(len(probs)), _draws(ids, self.seed) % order.shape[1]]
        chosen: Ints = np.where(probs.max(axis=1) <= DOUBT, drawn, best)
        return chosen

    def bound(
        self,
        probs: Floats,
        scores: Floats,
        *,
        cost_weight: float = 0.0,
        costs: ArrayLike | None = None,
    ) -> Choice:
        """The router's own upper bound: the best choice among the tiers it takes for capable.

        Capable are the tiers of probability 0.5 or more, and the one of highest expected
        score. The paper counts a question as lost where no tier is predicted to be right;
        since a tier has to be asked all the same, it is that one here, and the bound holds
        for `argmax`. Among the capable the true scores decide, ties to the cheaper.

        Args:
            probs: n×N, as in `choose`.
            scores: n×N, what each tier really scored.
            cost_weight: λ; with it the bound draws a curve.
            costs: N or n×N.
        """
        expected = self.expected(probs)
        capable = (probs >= CAPABLE) | (expected >= expected.max(axis=1, keepdims=True) - 1e-12)
        return oracle(np.where(capable, scores, -np.inf), self._prices(costs, len(probs)), cost_weight)

    def _prices(self, costs: ArrayLike | None, n: int) -> Floats:
        price = self.costs if costs is None else np.asarray(costs, dtype=float)
        return np.broadcast_to(price, (n, len(self.costs)))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: numbers, and arrays packed as base64."""
        return {
            "kind": self.kind,
            "seed": self.seed,
            "features": self.features.to_dict(),
            "model": self.model.to_dict(),
            "rewards": self.rewards.tolist(),
            "costs": self.costs.tolist(),
            "targets": {rule: target.tolist() for rule, target in self.targets.items()},
            "centres": self.centres.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QueryRouter:
        """Read the JSON form.

        Raises:
            DataError: when it is not one; a profile is someone's text.
        """
        try:
            return cls._read(data)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as exc:
            raise DataError(f"the query-side router cannot be read: {exc!r}") from exc

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> QueryRouter:
        costs, centres, kept = finite(data["costs"]), finite(data["centres"]), data["features"]
        tiers = len(costs)
        text = "embedding" not in kept
        features = TextFeatures.from_dict(kept) if text else VectorFeatures.from_dict(kept)
        model = _MODELS[data["kind"]].from_dict(data["model"], features.width, tiers)
        targets, regressed = data["targets"], _REGRESSED if isinstance(model, Linear) else ()
        return cls(
            kind=data["kind"],
            seed=int(data["seed"]),
            features=features,
            model=model,
            rewards=finite(data["rewards"], tiers, 2),
            costs=costs,
            targets={rule: finite(targets[rule], tiers + 1) for rule in regressed},
            centres=centres if isinstance(model, Clusters) else finite(centres, max(1, len(centres)), tiers),
        )


def _draws(ids: Sequence[object], seed: int) -> Ints:
    """A large number for each id, the same in every run and beside any other ids."""
    digests = (sha256(f"{seed}:{i}".encode("utf-8", "surrogatepass")).digest()[:4] for i in ids)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.intp)


# ---------------------------------------------------------------- fitting


class FittedRouter(NamedTuple):
    """A router, and what it says of its own training rows without having seen their labels.

    Attributes:
        router: fitted on all training rows.
        probs: n×N, P(right) of each training row from models fitted on other folds.
        classes: n, the class of each training row, of that out-of-fold logit vector; for
            `kmeans` the cluster, which looks at no label.
    """

    router: QueryRouter
    probs: Floats
    classes: Ints


def require_sklearn() -> None:
    """Check that routers can be fitted here.

    Raises:
        UsageError: without scikit-learn, with the command that installs it.
    """
    if find_spec("sklearn") is None:
        raise UsageError(
            "query-side routers are fitted with scikit-learn, which is not installed",
            hint="python -m pip install 'automix-cli[routers]'",
        )


def fit_router(
    kind: QueryRouterKind,
    texts: Sequence[str],
    scores: Floats,
    costs: ArrayLike,
    *,
    seed: int = 0,
    embeddings: ArrayLike | None = None,
    embed_model: str = "",
    pass_score: float = 0.5,
    budget: int = BUDGET,
) -> FittedRouter:
    """Fit a router on training rows.

    Args:
        kind: `multilabel`, `separate`, `kmeans` or `knn`.
        texts: n questions.
        scores: n×N, what each tier scored on each, 0..1.
        costs: N, planned cost of an answer per tier, USD; any common unit does.
        seed: of folds, clusters and draws.
        embeddings: n×D, to be read instead of the texts.
        embed_model: whose they are; kept with the router.
        pass_score: from this score on an answer is right.
        budget: about how many characters of JSON the router may take.

    Raises:
        UsageError: for an unknown kind, or without scikit-learn.
        DataError: for rows that do not score every tier, or none; for a cost that is unknown.
    """
    if kind not in QUERY_ROUTER_KINDS:
        raise UsageError(f"no query-side router {kind!r}", hint=f"there are: {', '.join(QUERY_ROUTER_KINDS)}")
    require_sklearn()
    from threadpoolctl import threadpool_limits  # which scikit-learn brings

    table, price = np.asarray(scores, dtype=float), np.asarray(costs, dtype=float)
    if price.ndim != 1 or not np.isfinite(price).all():
        raise DataError(f"a router needs a cost for each tier, got {price.tolist()}")
    if not len(texts) or table.shape != (len(texts), len(price)) or not np.isfinite(table).all():
        raise DataError(f"a router needs rows that score each of {len(price)} tiers, got {table.shape}")
    with threadpool_limits(1):  # sums over threads depend on how many there are, and so would clusters
        return _fitted(kind, texts, table, table >= pass_score, price, seed, embeddings, embed_model, budget)


def _fitted(
    kind: QueryRouterKind,
    texts: Sequence[str],
    scores: Floats,
    right: Bools,
    costs: Floats,
    seed: int,
    embeddings: ArrayLike | None,
    embed_model: str,
    budget: int,
) -> FittedRouter:
    fold = _folds(texts, seed)
    used = np.flatnonzero(fold >= 0)
    if embeddings is None:
        task = _task(kind, _some(texts, used), right[used], fold[used], seed, budget)
    else:
        table = np.asarray(embeddings, dtype=float)[used]
        task = _vector_task(
            kind, fit_vector_features(table, embed_model), table, right[used], fold[used], seed, budget
        )
    model, held_out = _fit_model(kind, task)
    seen = task.seen(np.clip(held_out, _SURE, 1 - _SURE))
    router = QueryRouter(
        kind=kind,
        seed=seed,
        features=task.features,
        model=model,
        rewards=_rewards(scores, right),
        costs=costs,
        targets=_targets(seen, costs) if isinstance(model, Linear) else {},
        centres=np.empty((0, 0)) if isinstance(model, Clusters) else _fit_cells(seen),
    )
    return _completed(router, task, seen.probs, used, texts, embeddings)


def _folds(texts: Sequence[str], seed: int) -> Ints:
    """Each row's fold, equal questions in one; -1 for rows beyond the most that are fitted on.

    The order comes from SHA-256(seed, question), so it does not depend on the rows' order.
    """
    forms = [normal_form(text) or f"\0{i}" for i, text in enumerate(texts)]  # blank ones differ
    known = sorted(set(forms), key=lambda f: sha256(f"{seed}:{f}".encode("utf-8", "surrogatepass")).digest())
    place = {form: k for k, form in enumerate(known)}
    order = np.array([place[form] for form in forms], dtype=np.intp)
    return np.where(order < MOST_ROWS, order % FOLDS, -1)


def _some(texts: Sequence[str], rows: Ints) -> list[str]:
    return [texts[i] for i in rows.tolist()]


def _taken(embeddings: ArrayLike | None, rows: Ints) -> Floats | None:
    return None if embeddings is None else np.asarray(embeddings, dtype=float)[rows]


class _Seen(NamedTuple):
    """Training rows with what models of other folds say of them."""

    probs: Floats
    right: Bools
    fold: Ints
    seed: int


class _Task(NamedTuple):
    """Training rows as a model takes them; `budget` is what is left for the model alone."""

    features: TextFeatures | VectorFeatures
    rows: FeatureRows
    right: Bools
    fold: Ints
    seed: int
    budget: float

    def seen(self, probs: Floats) -> _Seen:
        """The rows with their held-out probabilities."""
        return _Seen(probs, self.right, self.fold, self.seed)


_PER_BYTE = 4 / 3  # characters of base64
_PER_ENTRY = 4 * _PER_BYTE  # of a key and its idf
_OVERHEAD = 3_000.0  # of the form, the rates and whatever else is small


def _task(
    kind: QueryRouterKind,
    texts: Sequence[str],
    right: Bools,
    fold: Ints,
    seed: int,
    budget: int,
) -> _Task:
    left = budget - _OVERHEAD
    columns = right.shape[1] if kind in ("multilabel", "separate") else _DIMENSIONS
    share = {"knn": 0.4, "kmeans": 0.6}.get(kind, 1.0)  # neighbours and centres take the rest
    entries = int(share * left / (_PER_ENTRY + _PER_BYTE * columns))
    features = fit_text_features(texts, max(2, min(entries, _MOST_ENTRIES)))
    left -= _PER_ENTRY * len(features.vocabulary)
    return _Task(features, features.of(texts), right, fold, seed, left)


def _vector_task(
    kind: QueryRouterKind,
    features: VectorFeatures,
    vectors: Floats,
    right: Bools,
    fold: Ints,
    seed: int,
    budget: int,
) -> _Task:
    left = (budget - _OVERHEAD - _PER_BYTE * features.width) * (0.8 if kind == "kmeans" else 1.0)
    columns = right.shape[1] if kind in ("multilabel", "separate") else 2
    if left < _PER_BYTE * features.width * columns:
        raise UsageError(
            f"a router on embeddings of {features.width:,} numbers takes more than {budget:,} characters",
            hint=f"profile: embedding: {{model: {features.model or '…'}, params: {{dimensions: 256}}}}",
        )
    return _Task(features, features.of(vectors), right, fold, seed, left)


def _fit_model(kind: QueryRouterKind, task: _Task) -> tuple[Classifier, Floats]:
    """The model fitted to all rows, and the probabilities of models fitted to other folds."""
    if kind == "kmeans":
        return _fit_clusters(task)
    if kind == "knn":
        return _fit_neighbours(task)
    return _fit_linear(task, share=1.0 if kind == "multilabel" else 0.0)


def _completed(
    router: QueryRouter,
    task: _Task,
    held_out: Floats,
    used: Ints,
    texts: Sequence[str],
    embeddings: ArrayLike | None,
) -> FittedRouter:
    """The probabilities and cells of all rows; those that were not fitted on are simply read."""
    probs, cells = np.empty((len(texts), len(router.costs))), np.empty(len(texts), dtype=np.intp)
    probs[used] = held_out
    model = router.model
    if isinstance(model, Clusters):
        cells[used] = model.cells(task.rows)
    else:
        cells[used] = nearest(logit(held_out), router.centres)
    rest = np.setdiff1d(np.arange(len(texts)), used)
    if len(rest):
        probs[rest], cells[rest] = router.read(_some(texts, rest), embeddings=_taken(embeddings, rest))
    return FittedRouter(router, probs, cells)


def _rewards(scores: Floats, right: Bools) -> Floats:
    """N×2: mean score of wrong and of right answers, each with two answers more of 0 and of 1."""
    means = [
        ((scores * kind).sum(axis=0) + 2 * own) / (kind.sum(axis=0) + 2)
        for own, kind in enumerate((~right, right))
    ]
    return np.stack(means, axis=1)


def _others(fold: Ints) -> Iterable[tuple[Ints, Ints]]:
    """For each fold its rows, and the rows of all others."""
    return ((np.flatnonzero(fold == f), np.flatnonzero(fold != f)) for f in np.unique(fold))


def _by_fold(seen: _Seen | _Task, predict: Callable[[Ints, Ints], Floats]) -> Floats:
    """What `predict(other rows, rows)` says of each fold's rows, n×N."""
    out = np.empty(seen.right.shape)
    for own, others in _others(seen.fold):
        out[own] = predict(others, own)
    return out


def _brier(probs: Floats, right: Bools) -> float:
    return float(((probs - right) ** 2).mean())


def _log_loss(probs: Floats, right: Bools) -> float:
    return float(-np.log(np.where(right, probs, 1 - probs)).mean())


def _rates(right: Bools, cells: Ints, k: int) -> Floats:
    """Share of right answers in each of k cells, K×N, with two rows more of the overall share."""
    base = (right.sum(axis=0) + 0.5) / (len(right) + 1)
    counts = np.bincount(cells, minlength=k)[:, None]
    hits = np.stack([np.bincount(cells, column, minlength=k) for column in right.T], axis=1)
    shares: Floats = (hits + _PSEUDO_ROWS * base) / (counts + _PSEUDO_ROWS)
    return shares


# ---------------------------------------------------------------- fitting classifiers


def _fit_linear(task: _Task, share: float) -> tuple[Linear, Floats]:
    """Logistic regressions, their strength chosen and their logits calibrated on held-out folds."""
    x = _matrix(task.rows)
    strength, logits = _tuned(task, x, share)
    slope, offset = _calibration(logits, task.right)
    weights, intercept = fit_logistic(x, task.right, strength, share)
    model = Linear(Quantised.of(weights * slope), rounded(intercept * slope + offset))
    return model, sigmoid(logits * slope + offset)


def _matrix(rows: FeatureRows) -> Any:
    """Rows as SciPy and scikit-learn take them."""
    if not isinstance(rows, Sparse):
        return rows
    from scipy.sparse import csr_matrix

    return csr_matrix((rows.value, (rows.row, rows.column)), shape=(rows.n, rows.width))


def _tuned(task: _Task, x: Any, share: float) -> tuple[float, Floats]:
    """The strength of least held-out loss, and the held-out logits at it."""
    few = len(task.right) <= _TUNING_ROWS
    order = np.random.default_rng(task.seed).permutation(len(task.right))
    sample = np.arange(len(task.right)) if few else np.sort(order[:_TUNING_ROWS])
    part = task._replace(right=task.right[sample], fold=task.fold[sample])
    strengths = _STRENGTHS if isinstance(task.features, TextFeatures) else _VECTOR_STRENGTHS
    tried = {c: _held_out_logits(part, x[sample], c, share) for c in strengths}

    def loss(strength: float) -> float:
        slope, offset = _calibration(tried[strength], part.right)
        return _log_loss(sigmoid(tried[strength] * slope + offset), part.right)

    best = min(strengths, key=loss)
    return best, tried[best] if few else _held_out_logits(task, x, best, share)


def _held_out_logits(task: _Task, x: Any, strength: float, share: float) -> Floats:
    def predict(others: Ints, own: Ints) -> Floats:
        weights, intercept = fit_logistic(x[others], task.right[others], strength, share)
        logits: Floats = np.clip(x[own] @ weights + intercept, -15, 15)
        return logits

    return _by_fold(task, predict)


def fit_logistic(x: Any, right: Bools, strength: float, share: float = 0.0) -> tuple[Floats, Floats]:
    """Fit a logistic regression for each tier, their weights tied by `share`.

    Weights are w_j = w + v_j with a normal prior on the common w and on each v_j, of which w
    has `share` times the variance of v_j; both together have the variance `strength`. With
    w integrated into the penalty that is (Σ|w_j|² - k·|Σ w_j|²)·(1 + share)/(2·strength), k =
    share/(1 + N·share). `share` 0 is scikit-learn's LogisticRegression(C=strength) for each tier.
    Intercepts are free. A tier with fewer than 5 right or wrong answers gets its rate.

    Args:
        x: n×width, sparse or dense.
        right: n×N.
        strength: prior variance of a weight.
        share: how far tiers have weights in common.

    Returns:
        weights, width×N, and intercepts, N.
    """
    from scipy.optimize import minimize

    hits = right.sum(axis=0)
    rate = (hits + 0.5) / (len(right) + 1)
    weights, intercept = np.zeros((x.shape[1], right.shape[1])), np.log(rate / (1 - rate))
    usable = np.flatnonzero(np.minimum(hits, len(right) - hits) >= LEAST_ROWS)
    if not len(usable):
        return weights, intercept
    sign = np.where(right[:, usable], 1.0, -1.0)
    ridge, tied = (1 + share) / strength, share / (1 + len(usable) * share)
    transposed, shape = x.T, (x.shape[1], len(usable))

    def loss(flat: Floats) -> tuple[float, Floats]:
        w, b = flat[: -len(usable)].reshape(shape), flat[-len(usable) :]
        margin = sign * (x @ w + b)
        pull = ridge * (w - tied * w.sum(axis=1, keepdims=True))
        slope = -sign * sigmoid(-margin)
        gradient = np.concatenate([(transposed @ slope + pull).ravel(), slope.sum(axis=0)])
        value = np.logaddexp(0, -margin).sum() + 0.5 * (w * pull).sum()
        return value / len(right), gradient / len(right)

    start = np.concatenate([np.zeros(weights[:, usable].size), intercept[usable]])
    options = {"maxiter": 300, "gtol": 3e-5, "ftol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    weights[:, usable] = found[: -len(usable)].reshape(shape)
    intercept[usable] = found[-len(usable) :]
    return weights, intercept


def _calibration(logits: Floats, right: Bools) -> tuple[Floats, Floats]:
    """Slope and offset per tier that make held-out logits true: Platt scaling, 2 × N.

    Targets are smoothed as Platt did, (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2), and no slope is below 0:
    a classifier that is worse than none is not believed the other way round.
    Source: J. Platt, "Probabilistic outputs for support vector machines" (1999).
    """
    from scipy.optimize import minimize

    hits = right.sum(axis=0)
    misses = len(right) - hits
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))

    def fitted(z: Floats, t: Floats) -> Floats:
        def loss(ab: Floats) -> tuple[float, Floats]:
            wide = ab[0] * z + ab[1]
            gap = sigmoid(wide) - t
            return float((np.logaddexp(0, wide) - t * wide).mean()), np.array([(gap * z).mean(), gap.mean()])

        found: Floats = minimize(loss, [1.0, 0.0], jac=True, bounds=[(0, None), (None, None)]).x
        return found

    slope, offset = np.stack([fitted(z, t) for z, t in zip(logits.T, target.T, strict=True)], axis=1)
    return slope, offset


def _targets(seen: _Seen, costs: Floats) -> dict[Selection, Floats]:
    """The regressions of the rules `prediction` and `sorted`; see `QueryRouter.choose`."""
    by_cost, by_rate = np.argsort(costs, kind="stable"), np.lexsort((costs, seen.right.mean(axis=0)))
    return {rule: _target(seen, order) for rule, order in zip(_REGRESSED, (by_cost, by_rate), strict=True)}


def _target(seen: _Seen, order: Ints) -> Floats:
    """Intercept and coefficients of the first right tier's probability, 0.5 where none is right."""
    first = order[seen.right[:, order].argmax(axis=1)]
    value = np.where(seen.right.any(axis=1), seen.probs[np.arange(len(first)), first], 0.5)
    mean = seen.probs.mean(axis=0)
    spread = seen.probs - mean
    ridge = 1e-5 * len(first) * np.eye(len(order))  # tiers may be as good as collinear
    slope = np.linalg.solve(spread.T @ spread + ridge, spread.T @ (value - value.mean()))
    return rounded([value.mean() - mean @ slope, *slope])


# ---------------------------------------------------------------- fitting clusters and neighbours


def _axes(task: _Task, budget: float) -> Quantised:
    """Axes of the space of few dimensions: leading right singular vectors of the rows."""
    from sklearn.utils.extmath import randomized_svd

    width = task.rows.width if isinstance(task.rows, Sparse) else task.rows.shape[1]
    room = int(budget / (_PER_BYTE * max(width, 1)))
    size = max(1, min(_DIMENSIONS, len(task.right), width, room))
    found = randomized_svd(_matrix(task.rows), n_components=size, n_iter=5, random_state=task.seed)
    return Quantised.of(found[2].T)


def _centres(points: Floats, k: int, seed: int, tries: int) -> Floats:
    """K-means; the best of several starts."""
    if k == 1:
        return rounded(points.mean(axis=0, keepdims=True), 4)
    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different points than centres: some centres are equal
        found = KMeans(k, n_init=tries, max_iter=100, random_state=seed).fit(points)
    return rounded(found.cluster_centers_, 4)


def _held_out_rates(task: _Task | _Seen, points: Floats, k: int) -> Floats:
    """Rates of the nearest of k clusters, each fold's clusters and rates from the others."""

    def predict(others: Ints, own: Ints) -> Floats:
        if len(others) < k:
            return np.full((len(own), task.right.shape[1]), 0.5)
        centres = _centres(points[others], k, task.seed, tries=1)
        rates = _rates(task.right[others], nearest(points[others], centres), k)
        seen: Floats = rates[nearest(points[own], centres)]
        return seen

    return _by_fold(task, predict)


def _fit_clusters(task: _Task) -> tuple[Clusters, Floats]:
    """K-means in the space, with as many clusters as predict held-out rows best (Brier score)."""
    axes = _axes(task, task.budget)
    points = _placed(task.rows, axes)
    sizes = [1, *(k for k in _CLUSTERS if 50 * k <= len(points))]
    tried = {k: _held_out_rates(task, points, k) for k in sizes}
    best = min(sizes, key=lambda k: _brier(tried[k], task.right))
    centres = _centres(points, best, task.seed, tries=4)
    rates = rounded(_rates(task.right, nearest(points, centres), best), 4)
    return Clusters(axes, centres, rates), tried[best]


def _fit_neighbours(task: _Task) -> tuple[Neighbours, Floats]:
    """Keep as many rows as there is room for; the k that predicts held-out rows best (Brier score)."""
    axes = _axes(task, task.budget / 2)
    points = _placed(task.rows, axes)
    bytes_each = points.shape[1] + (task.right.shape[1] + 7) // 8
    room = int((task.budget - _PER_BYTE * axes.steps.size) / (_PER_BYTE * bytes_each))
    kept = np.sort(np.random.default_rng(task.seed).permutation(len(points))[: max(room, 1)])
    steps = np.rint(127 * points[kept]).astype(np.int8)
    base = rounded((task.right.sum(axis=0) + 0.5) / (len(points) + 1))
    sizes = [k for k in _NEIGHBOURS if 4 * k <= len(kept)] or [len(kept)]
    tried = _held_out_neighbours(task, points, steps, kept, base, sizes)
    best = min(sizes, key=lambda k: _brier(tried[k], task.right))
    return Neighbours(axes, steps, task.right[kept], base, best), tried[best]


def _held_out_neighbours(
    task: _Task, points: Floats, steps: NDArray[np.int8], kept: Ints, base: Floats, sizes: Sequence[int]
) -> dict[int, Floats]:
    """For each k what the k most similar rows of other folds say of every row."""
    tried: dict[int, list[Floats]] = {k: [] for k in sizes}
    for start, part in zip(range(0, len(points), 1_024), _parts(points), strict=True):
        hidden = task.fold[start : start + len(part), None] == task.fold[kept]
        near = _most_similar(part, steps, max(sizes), hidden)
        visible = ~np.take_along_axis(hidden, near, axis=1)
        hits = (task.right[kept][near] & visible[:, :, None]).cumsum(axis=1)
        counts = visible.cumsum(axis=1)
        for k in sizes:
            rates = (hits[:, k - 1] + _PSEUDO_ROWS * base) / (counts[:, k - 1, None] + _PSEUDO_ROWS)
            tried[k].append(rates)
    return {k: np.concatenate(rates) for k, rates in tried.items()}


def _fit_cells(seen: _Seen) -> Floats:
    """Centres of the cells of held-out logit vectors, K×N, K ≤ min(8, rows/50).

    K is chosen on folds, by how likely the cells' rates make the answers of held-out rows.
    """
    points = logit(seen.probs)
    sizes = range(1, max(1, min(MOST_CELLS, len(points) // 50)) + 1)
    best = min(sizes, key=lambda k: _log_loss(_held_out_rates(seen, points, k), seen.right))
    return _centres(points, best, seen.seed, tries=4)
