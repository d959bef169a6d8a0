"""Fusion: several compressed models become one."""
