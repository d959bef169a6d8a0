"""Pruning: weights, attention heads, neurons, vocabulary."""
