"""What values a code may stand for, one grid a file."""
