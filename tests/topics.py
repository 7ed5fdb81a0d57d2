"""Questions of three topics, on which query-side routers are fitted."""

from __future__ import annotations

import numpy as np

COSTS = np.array([1.0, 4.0, 20.0])
TOPICS = {  # words, and each tier's chance to be right
    "poem": ("rhyme verse sonnet stanza metre ode", (0.9, 0.9, 0.9)),
    "sums": ("add multiply divide total remainder number", (0.1, 0.5, 0.9)),
    "code": ("function loop return variable compile stack", (0.1, 0.9, 0.6)),
}


def questions(n: int, seed: int = 0, graded: bool = False) -> tuple[list[str], np.ndarray]:
    """Questions of three topics that say which they are, and what three tiers scored on them."""
    rng = np.random.default_rng(seed)
    topics = rng.choice(list(TOPICS), n)
    texts = [" ".join(rng.choice(TOPICS[t][0].split(), 6)) + f" case {i}" for i, t in enumerate(topics)]
    scores = (rng.random((n, 3)) < [TOPICS[t][1] for t in topics]).astype(float)
    return texts, scores * 0.6 + 0.2 if graded else scores


TEXTS, SCORES = questions(400)
HELD_OUT, HELD_OUT_SCORES = questions(150, seed=1)
