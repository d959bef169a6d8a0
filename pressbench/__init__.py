"""pressbench: a benchmark and regression suite for Transformer compression, run by pytest."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pressbench")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
