"""From policies and rows to figures."""
