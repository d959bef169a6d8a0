"""How a task is scored, one way a file: what is kept of a model's outputs on each example, and what is said of
two models' answers to the same ones."""
