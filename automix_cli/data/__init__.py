"""Rows in, rows out, and tables of recorded runs."""
