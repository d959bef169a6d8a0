"""Metrics as local `evaluate` modules: the hub's scripts are out of reach where CI runs."""
