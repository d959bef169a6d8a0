"""Measures: worker processes, paired timing, quality, footprint."""
