"""What a run leaves behind: its records, the store that keeps them, and the tables drawn from them."""
