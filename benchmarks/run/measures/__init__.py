"""What a case measures: each takes what the run works with and the case, and tells what its record holds."""
