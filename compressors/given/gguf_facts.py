"""Run as a script on a GGUF file: prints what it says of itself, as one line of JSON.

architecture, name   as its metadata has them
vocabulary           how many tokens
context              the longest text, in tokens; null where it does not say
dtypes               type of stored weights -> how many
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any


def facts(path: Path) -> dict[str, Any]:
    """Of the metadata and the list of tensors; no weight is read."""
    import gguf

    reader = gguf.GGUFReader(str(path))

    def said(key: str) -> Any:
        field = reader.get_field(key)
        return None if field is None else field.contents()

    architecture = str(said("general.architecture"))
    dtypes: Counter[str] = Counter()
    for tensor in reader.tensors:
        dtypes[tensor.tensor_type.name.lower()] += int(tensor.n_elements)
    tokens = reader.get_field("tokenizer.ggml.tokens")
    return {
        "architecture": architecture,
        "name": said("general.name"),
        "vocabulary": said(f"{architecture}.vocab_size") if tokens is None else len(tokens.data),
        "context": said(f"{architecture}.context_length"),
        "dtypes": dict(dtypes),
    }


if __name__ == "__main__":
    print(json.dumps(facts(Path(sys.argv[1]))))
