"""A run of the matrix: lanes, session, resume, summary."""
