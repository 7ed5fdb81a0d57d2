"""Simulated tiers that need no network and no key."""
