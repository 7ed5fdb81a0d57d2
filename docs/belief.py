"""The belief after 7 of 8 votes, from the router block of automix.yaml and the formulas alone."""

from math import exp, lgamma

import yaml

with open("automix.yaml", encoding="utf-8") as file:
    router = yaml.safe_load(file)["router"]
[counts] = router["prior"]["counts"]  # of the states 0 … 3; bit 0: small is right, bit 1: large is right
alpha, rows = router["prior"]["alpha"], sum(counts)
votes = router["observations"]["small"]["observation"]


def log_beta(a, b):
    """Return log B(a, b)."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def marginal(tier):
    """Return the chance that a tier is right."""
    return (sum(n for state, n in enumerate(counts) if state >> tier & 1) + 0.5) / (rows + 1)


def prior(state):
    """Return b₀ of a state."""
    bits = [(marginal(tier), state >> tier & 1) for tier in (0, 1)]
    product = 1.0
    for chance, right in bits:
        product *= chance if right else 1 - chance
    return (counts[state] + alpha * product) / (rows + alpha)


def likelihood(state, correct, parsed):
    """Return the chance of these votes in one order."""
    cells = votes["shapes"]  # wrong, right; or four: wrong or right, by whether large is right
    a, b = cells[state & 1] if len(cells) == 2 else cells[2 * (state & 1) + (state >> 1)]
    return exp(log_beta(a + correct, b + parsed - correct) - log_beta(a, b))


weights = [prior(state) * likelihood(state, 7, 8) for state in range(4)]
print(f"small is right with probability {(weights[1] + weights[3]) / sum(weights):.2f}")
