"""Metrics of the `evaluate` package, defined here so that none is fetched."""
