"""Results for others: GitHub, pytest-benchmark, model cards."""
