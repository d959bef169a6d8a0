"""A result against history and the accepted baseline."""
