"""Models, one a file. Each declares `MODEL`."""
