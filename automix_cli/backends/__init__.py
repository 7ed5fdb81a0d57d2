"""A request goes in, completions come out."""
