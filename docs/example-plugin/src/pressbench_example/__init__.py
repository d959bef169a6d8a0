"""A compressor that lives outside pressbench: float16 storage of weights, in `float16.py`."""
