"""What runs in a peer's own environment. `run.py` is started there with one of the others, by its path: nothing here
imports a peer, torch or transformers before it is asked to quantize, and nothing imports pressbench."""
