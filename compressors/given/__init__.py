"""Models that were compressed elsewhere: what their files are, whether they fit the dense model, how they run."""
