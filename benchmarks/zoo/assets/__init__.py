"""Pinned assets, one a file."""
