"""The plotting library as one script: vl-convert carries it, so that a report needs no network, here or where it is
read."""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import Any

from markupsafe import Markup

from results.store.strict_json import ResultsError

_EXPOSED = "window.vegaEmbed = vegaEmbed;"

INSTALL = 'pip install -c constraints.txt -e ".[report]"'


@functools.cache
def library() -> Markup:
    """Vega, Vega-Lite and vega-embed, fit to stand inside a script element.

    Raises ResultsError where the package that holds them is not installed.
    """
    return in_element(converter().javascript_bundle(_EXPOSED))


def converter() -> Any:
    """vl-convert, which holds the library and draws by itself. Raises ResultsError where it is not installed."""
    try:
        import vl_convert
    except ImportError:
        raise ResultsError(f"a report needs vl-convert-python: {INSTALL}") from None
    return vl_convert


def in_element(script: str) -> Markup:
    """A script of our own, or the library's, without what would end its element early."""
    # In JavaScript these stand in strings and regular expressions only, where `\\/` and `\\x21` mean the same.
    return Markup(script.replace("</script", "<\\/script").replace("<!--", "<\\x21--"))


def digest(content: str) -> str:
    """The hash by which the page's policy knows a script or style of its own."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
