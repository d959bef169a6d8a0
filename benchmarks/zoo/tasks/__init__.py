"""Tasks: data, split and metric, one a file."""
