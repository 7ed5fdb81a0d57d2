"""The decision: which tier to ask, how many votes to buy, what to report."""
