"""Quantization: fewer bits for weights, and for activations where a runtime computes with them."""
