"""The YAML file that says which tiers to ask."""
