"""The assets of a model of the zoo, for tests on the real weights and data."""

from __future__ import annotations

import platformdirs
import pytest

from benchmarks.cache import Cache
from benchmarks.zoo.model import Model
from benchmarks.zoo.wheel import AssetError


def cache_with(model: Model) -> Cache:
    """The user's own cache with the model's assets in it, to which tests add a tokenizer at most. Skips the test with
    the reason where they cannot be had."""
    found = Cache(platformdirs.user_cache_path("pressbench"))
    try:
        for asset in model.assets:
            asset.folder(found)
    except AssetError as error:
        pytest.skip(str(error))
    return found
