"""What executes an artifact. One module per runtime; `base.py` is the contract."""
