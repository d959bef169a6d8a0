"""Run as a script on a Python file: prints what it says of itself, as one line of JSON. Nothing in it is run.

functions   names of the functions that a call can reach, at its top
files       its FILES: what lies beside it that it reads
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any


def facts(path: Path) -> dict[str, Any]:
    """Of the file. Raises SyntaxError, and ValueError where FILES is not a list of names."""
    body = ast.parse(path.read_bytes(), filename=path.name).body
    found: Any = ()
    for node in body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "FILES" for target in targets):
            try:
                found = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            except ValueError:
                raise ValueError(f"line {node.lineno}: FILES must be written out, a list of names") from None
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) and name for name in found):
        raise ValueError("FILES must be a list of names")
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {"functions": functions, "files": list(dict.fromkeys(found))}


if __name__ == "__main__":
    print(json.dumps(facts(Path(sys.argv[1]))))
