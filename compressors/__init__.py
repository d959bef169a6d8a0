"""What makes a Transformer smaller or faster: one module per method.

Start at `interface.py`, the page a plugin author reads. Nothing here knows about pytest, about how
things are measured or where results are stored.
"""
