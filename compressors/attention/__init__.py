"""Sparse attention: a token looks at a few of the others, and what it does not look at is never computed."""
