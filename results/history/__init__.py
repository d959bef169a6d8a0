"""What was accepted, what was measured before, and what a machine's noise was."""
