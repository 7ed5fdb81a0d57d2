"""Live runs: the policy decides, calls are made."""
