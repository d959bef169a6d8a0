"""Sharing: one set of weights in several places."""
