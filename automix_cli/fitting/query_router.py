"""Query-side routers: which tier to ask, decided from the question alone.

    router.predict(texts) ─▶ P(right), n×N ─▶ router.choose(probs, rule) ─▶ a tier per question
                                           └▶ the prior of each question (`pomdp+query`, see `tilt`)

These are the routers of "Harnessing the Power of Multiple Minds: Lessons Learned from LLM
Routing" (Srivatsa, Maurya and Kochmar 2024, arXiv 2405.00467). There a question's label is the
set of models that answer it right, and a fine-tuned encoder gives each model a confidence. Here
the confidence comes from linear models on TF-IDF and on the question's form, in a fraction of a
millisecond, or from linear models on embeddings that the caller provides.

- `separate`: a classifier per tier, a logistic regression with weights of its own.
- `multilabel`: one model for all tiers at once. Each tier's weights are a common part plus
  its own, and all are fitted together, so that tiers learn from each other's answers
  (Evgeniou and Pontil, "Regularized multi-task learning", KDD 2004).
- `kmeans`: clusters of questions; the paper sends each cluster to the tier best on it.
- `knn`: how the tiers did on the most similar training questions (as in RouterBench,
  arXiv 2403.12031).

All give P(tier is right | question), calibrated on training folds. `QueryRouter.choose` has
the paper's four selection policies, `QueryRouter.bound` the paper's upper bound of a router.

Using a router needs NumPy alone. `fit_query_router` fits one, with scikit-learn. A router
keeps within a budget of characters of JSON, so that a profile can hold it, and is rounded to
what it keeps before anything is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, get_args

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from automix_cli.data.oracle import TierChoice, oracle
from automix_cli.errors import DataError, UsageError, describe_value, reading_problem
from automix_cli.fitting.features import (
    FeatureRows,
    Quantised,
    TextFeatures,
    VectorFeatures,
    finite,
    pack,
    product,
    unit_rows,
    unpack,
)
from automix_cli.fitting.query_router_kinds import QueryRouterKind
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.tilt import sigmoid

Selection = Literal["argmax", "random", "prediction", "sorted"]

SELECTIONS: tuple[Selection, ...] = get_args(Selection)
REGRESSIONS: tuple[Selection, ...] = ("prediction", "sorted")
CAPABLE = 0.5  # from this probability on a tier is predicted to be right
DOUBT = 0.6  # up to this highest probability the rule `random` draws a tier
SHORTLIST = 3  # among so many
VERSION = 2  # of the form in which a profile keeps a router
EXTREME = 1e-3  # no probability is nearer to 0 or 1
GROUP_PSEUDO_ROWS = 2.0  # with which the rates of small groups are shrunk to those of all rows


# ---------------------------------------------------------------- the classifiers


class Linear(Struct, frozen=True, eq=False):
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


class Clusters(Struct, frozen=True, eq=False):
    """K centres in a space of few dimensions, and each tier's rate of right answers around them.

    Attributes:
        axes: width×D, onto which rows are projected (latent semantic analysis).
        centres: K×D.
        rates: K×N.
    """

    axes: Quantised
    centres: Floats
    rates: Floats

    def classes(self, rows: FeatureRows) -> Ints:
        """The nearest centre of each row."""
        return nearest(place_rows(rows, self.axes), self.centres)

    def probs(self, rows: FeatureRows) -> Floats:
        """The rates around that centre, n×N."""
        return self.rates[self.classes(rows)]

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


class Neighbours(Struct, frozen=True, eq=False):
    """Training rows in a space of few dimensions, of which the k most similar (cosine) count.

    Attributes:
        axes: width×D, as in `Clusters`.
        points: R×D, steps of 1/127.
        right: R×N.
        base: N, the rates of all rows, which count as two more neighbours.
        k: how many neighbours count.
    """

    axes: Quantised
    points: NDArray[np.int8]
    right: Bools
    base: Floats
    k: int

    def probs(self, rows: FeatureRows) -> Floats:
        """The neighbours' rate of right answers, n×N."""
        chunks = row_chunks(place_rows(rows, self.axes))
        near = np.concatenate([most_similar(chunk, self.points, self.k) for chunk in chunks])
        rates: Floats = (self.right[near].sum(axis=1) + GROUP_PSEUDO_ROWS * self.base) / (
            self.k + GROUP_PSEUDO_ROWS
        )
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


_CLASSIFIERS: dict[str, type[Linear] | type[Clusters] | type[Neighbours]] = {
    "multilabel": Linear,
    "separate": Linear,
    "kmeans": Clusters,
    "knn": Neighbours,
}


def nearest(points: Floats, centres: Floats) -> Ints:
    """The centre nearest to each point; of equally near ones the first."""
    distances = np.array([((points - centre) ** 2).sum(axis=1) for centre in centres])
    place: Ints = distances.argmin(axis=0)
    return place


def place_rows(rows: FeatureRows, axes: Quantised) -> Floats:
    """The rows' positions on the unit sphere of the space."""
    return unit_rows(product(rows, axes.matrix))


def row_chunks(table: Floats, size: int = 1_024) -> Iterable[Floats]:
    """The rows of a table, so many at a time; one empty part when there are none."""
    return (table[i : i + size] for i in range(0, max(len(table), 1), size))


def most_similar(
    positions: Floats, points: NDArray[np.int8], k: int, is_excluded: Bools | None = None
) -> Ints:
    """The k points of highest cosine for each row, n×k, most similar first, equals by place.

    Summed one dimension after the other, so that a row's neighbours do not depend, through
    rounding, on the other rows. `is_excluded` marks, n×R, the points that do not count for a row.
    """
    similarity = np.zeros((len(positions), len(points)))
    for d in range(points.shape[1]):
        similarity += positions[:, d, None] * points[:, d]
    similarity /= np.sqrt((points.astype(float) ** 2).sum(axis=1).clip(min=1.0))
    if is_excluded is not None:
        similarity[is_excluded] = -np.inf
    order: Ints = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return order


# ---------------------------------------------------------------- the router


def mean_rewards(scores: Floats, right: Bools) -> Floats:
    """N×2: mean score of wrong and of right answers, with two pseudo-answers of score 0 and of 1."""
    means = [
        ((scores * kind).sum(axis=0) + 2 * own) / (kind.sum(axis=0) + 2)
        for own, kind in enumerate((~right, right))
    ]
    return np.stack(means, axis=1)


def expected_scores(rewards: Floats, probs: Floats) -> Floats:
    """The expected score of each tier, n×N: graded scorers keep their meaning."""
    wrong, right = rewards.T
    scores: Floats = wrong + (right - wrong) * probs
    return scores


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
        targets: an intercept and N coefficients for each of the rules `prediction` and `sorted`;
            empty where the kind has no rule but `argmax`.
    """

    kind: QueryRouterKind
    seed: int
    features: TextFeatures | VectorFeatures
    model: Classifier
    rewards: Floats
    costs: Floats
    targets: Mapping[Selection, Floats]

    @property
    def rules(self) -> tuple[Selection, ...]:
        """The selection rules this kind has."""
        return SELECTIONS if self.targets else SELECTIONS[:1]

    @property
    def embed_model(self) -> str | None:
        """The model whose embeddings it reads; None where it reads the texts themselves."""
        return self.features.model if isinstance(self.features, VectorFeatures) else None

    def predict(self, texts: Sequence[str], *, embeddings: ArrayLike | None = None) -> Floats:
        """P(tier is right | question), n×N: of texts, or of embeddings where the router was fitted on these.

        Raises:
            DataError: for no embeddings, or others than the router was fitted on.
        """
        probs: Floats = np.clip(self.model.probs(self._rows(texts, embeddings)), EXTREME, 1 - EXTREME)
        return probs

    def _rows(self, texts: Sequence[str], embeddings: ArrayLike | None) -> FeatureRows:
        if isinstance(self.features, TextFeatures):
            return self.features.of(texts)
        if embeddings is None:
            raise DataError("this query-side router reads embeddings, and was given texts alone")
        return self.features.of(embeddings)

    def expected_scores(self, probs: Floats) -> Floats:
        """The expected score of each tier, n×N."""
        return expected_scores(self.rewards, probs)

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
        scores = self.expected_scores(probs)
        if rule in self.targets:
            prediction = self.targets[rule][0] + probs @ self.targets[rule][1:]
            return oracle(-np.abs(probs - prediction[:, None]), price, cost_weight).tier
        best = oracle(scores, price, cost_weight).tier
        if rule == "argmax":
            return best
        if ids is None:
            raise UsageError("the rule random draws by the questions' ids, and has none")
        order = _shortlist(scores, price, cost_weight)
        pick = order[np.arange(len(probs)), _draws(ids, self.seed) % order.shape[1]]
        tiers: Ints = np.where(probs.max(axis=1) <= DOUBT, pick, best)
        return tiers

    def chances(self, probs: Floats, rule: Selection = "argmax", *, cost_weight: float = 0.0) -> Floats:
        """Return the chance of each tier to be picked by `choose`, n×N, over all draws of `random`."""
        best = self.choose(probs, "argmax" if rule == "random" else rule, cost_weight=cost_weight)
        chances: Floats = np.eye(len(self.costs))[best]
        if rule != "random":
            return chances
        in_doubt = np.flatnonzero(probs.max(axis=1) <= DOUBT)
        price = self._prices(None, len(probs))
        order = _shortlist(self.expected_scores(probs), price, cost_weight)[in_doubt]
        chances[in_doubt] = 0.0
        chances[in_doubt[:, None], order] = 1 / order.shape[1]
        return chances

    def bound(
        self,
        probs: Floats,
        scores: Floats,
        *,
        cost_weight: float = 0.0,
        costs: ArrayLike | None = None,
    ) -> TierChoice:
        """The router's own upper bound: the best choice among the tiers it predicts to be capable.

        Capable are the tiers of probability 0.5 or more, and the one of highest expected
        score. The paper counts a question as lost where no tier is predicted to be right;
        since a tier has to be asked all the same, it is that one here, and the bound holds
        for `argmax`. Among the capable the true scores decide, ties to the cheaper.

        Args:
            probs: n×N, as in `choose`.
            scores: n×N, the true score of each tier.
            cost_weight: λ; with it the bound draws a curve.
            costs: N or n×N.
        """
        means = self.expected_scores(probs)
        capable = (probs >= CAPABLE) | (means >= means.max(axis=1, keepdims=True) - 1e-12)
        return oracle(np.where(capable, scores, -np.inf), self._prices(costs, len(probs)), cost_weight)

    def _prices(self, costs: ArrayLike | None, n: int) -> Floats:
        price = self.costs if costs is None else np.asarray(costs, dtype=float)
        return np.broadcast_to(price, (n, len(self.costs)))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: numbers, and arrays packed as base64."""
        return {
            "version": VERSION,
            "kind": self.kind,
            "seed": self.seed,
            "features": self.features.to_dict(),
            "model": self.model.to_dict(),
            "rewards": self.rewards.tolist(),
            "costs": self.costs.tolist(),
            "targets": {rule: target.tolist() for rule, target in self.targets.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QueryRouter:
        """Read the JSON form.

        Raises:
            DataError: when it is not one, or of another version; a profile is someone's text.
        """
        if isinstance(data, Mapping) and data.get("version") != VERSION:
            version = describe_value(data.get("version")) if "version" in data else "an older one"
            raise DataError(f"the query-side router has version {version}, and this automix reads {VERSION}")
        try:
            return cls._read(data)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as exc:
            raise DataError(f"the query-side router cannot be read: {reading_problem(exc)}") from exc

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> QueryRouter:
        costs, features_data = finite(data["costs"]), data["features"]
        tiers = len(costs)
        kind = VectorFeatures if "embedding" in features_data else TextFeatures
        features = kind.from_dict(features_data)
        model = _CLASSIFIERS[data["kind"]].from_dict(data["model"], features.width, tiers)
        targets, rules = data["targets"], REGRESSIONS if isinstance(model, Linear) else ()
        return cls(
            kind=data["kind"],
            seed=int(data["seed"]),
            features=features,
            model=model,
            rewards=finite(data["rewards"], tiers, 2),
            costs=costs,
            targets={rule: finite(targets[rule], tiers + 1) for rule in rules},
        )


def _shortlist(scores: Floats, price: Floats, cost_weight: float) -> Ints:
    """The tiers among which the rule `random` draws, per question, best first."""
    order: Ints = np.lexsort((price, -(scores - cost_weight * price)), axis=1)[:, :SHORTLIST]
    return order


def _draws(ids: Sequence[object], seed: int) -> Ints:
    """A large number for each id, the same in every run and beside any other ids."""
    digests = (sha256(f"{seed}:{i}".encode("utf-8", "surrogatepass")).digest()[:4] for i in ids)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.intp)
