"""The method, its target and its test that `pressbench new` writes under another name."""
