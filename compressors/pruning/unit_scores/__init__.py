"""Scores of attention heads and feed-forward neurons, one a file; `prune-structured` names them."""
