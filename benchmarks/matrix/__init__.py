"""Which cases there are: options, selection, targets, expectations."""
