"""From rows to parameters, and the `router:` block that keeps them."""
