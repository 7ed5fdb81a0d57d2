"""Results as text, tables, SVG and HTML."""
