"""Kinds of tasks for models of one's own, one a file. Each declares `KIND`."""
