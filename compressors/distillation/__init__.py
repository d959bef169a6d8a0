"""Distillation: a smaller student trained on what the dense model answers."""
