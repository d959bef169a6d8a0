"""`pressbench new`: a method to begin with, its target and its test, which pass as they are written."""

from __future__ import annotations

import importlib.resources
import keyword
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

MODEL = "vit-digits"
"""What the target is stated for: the smallest model there is."""
LONGEST = 40
"""The most characters of a name: ids hold the model's and the device's too."""
_CHECKOUT = ("compressors/interface.py", "tests/compressors", "baselines/targets.toml")


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the method: lower-case words joined by '-', as prune-my-score.")
    ],
    family: Annotated[str, typer.Option(metavar="FOLDER", help="Which folder of compressors/ it goes to.")] = "pruning",
) -> None:
    """Write a method that works, its target and its test, to be changed into one's own.

    In a checkout of pressbench. Nothing is overwritten: all three files are written, or none."""
    root = _checkout()
    files = rendered(name, _folder(root, family).name)
    _check_free(name, root, files)
    _write_all({root / path: text for path, text in files.items()})
    module = name.replace("-", "_")
    typer.echo("written:")
    for path in files:
        typer.echo(f"  {path}")
    typer.echo("next:")
    typer.echo(f"pytest tests/compressors/test_conformance.py -k {name}")
    typer.echo(f"pytest tests/compressors/test_{module}.py")
    typer.echo(f'pytest benchmarks --model {MODEL} --compressor {name} -m "not speed"')


def rendered(name: str, folder: str) -> dict[str, str]:
    """The files of a method of that name: path in the checkout -> text. folder: in `compressors`.

    Raises PressbenchError, one line, for a name that no method can have."""
    from compressors.interface import PressbenchError

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST:
        raise PressbenchError(
            f"{name!r} cannot be a method's name: lower-case words and digits joined by '-', beginning with a letter, "
            f"at most {LONGEST} characters, as prune-my-score"
        )
    module, cls = name.replace("-", "_"), "".join(word.capitalize() for word in name.split("-"))
    here = importlib.resources.files("pressbench.template")
    method, test, target = (
        here.joinpath(file).read_text(encoding="utf-8")
        for file in ("new_method.py", "test_new_method.py", "new_method.toml")
    )
    if keyword.iskeyword(module) or keyword.iskeyword(cls) or re.search(rf"\b{cls}\b", method + test):
        raise PressbenchError(
            f"{name!r} cannot be a method's name: {module} and {cls} mean something in its file already"
        )
    texts = {
        f"compressors/{folder}/{module}.py": method.replace('"pruning"', f'"{folder.replace("_", "-")}"'),
        f"tests/compressors/test_{module}.py": test.replace("pressbench.template.", f"compressors.{folder}."),
        f"baselines/targets.d/{name}.toml": target,
    }
    names = {"new_method": module, "NewMethod": cls, "new-method": name}
    return {path: re.sub("|".join(names), lambda found: names[found[0]], text) for path, text in texts.items()}


def _checkout() -> Path:
    """The current folder, which must be the checkout that this program is from."""
    import compressors
    from compressors.interface import PressbenchError

    here = Path.cwd()
    if not all((here / part).exists() for part in _CHECKOUT):
        raise PressbenchError(
            "this folder is no checkout of pressbench, and nothing was written; a method in a package of your own "
            "begins as a copy of docs/example-plugin"
        )
    if here.resolve() != Path(str(compressors.__file__)).resolve().parents[1]:
        raise PressbenchError(
            "this folder is another checkout than the pressbench that runs: start python -m pressbench.cli new … in it"
        )
    return here


def _folder(root: Path, family: str) -> Path:
    from compressors.interface import PressbenchError
    from compressors.nearest import nearest

    families = {
        path.parent.name.replace("_", "-"): path.parent
        for path in (root / "compressors").glob("*/__init__.py")
        if path.parent.name != "runtimes"
    }
    if family not in families:
        raise PressbenchError(f"--family {family}: there is no such folder of methods{nearest(family, families)}")
    return families[family]


def _check_free(name: str, root: Path, files: Iterable[str]) -> None:
    """Raises PressbenchError where a method or a file is called so already."""
    from compressors import registry
    from compressors.interface import PressbenchError
    from pressbench.template.new_method import NewMethod

    classes, ids = registry.compressor_classes(), registry.variants("full")
    if name in classes or name in ids:
        found = classes.get(name) or type(ids[name])
        raise PressbenchError(f"the name {name!r} is taken by {found.__module__}; nothing was written")
    suffixes = {**NewMethod.variants, **NewMethod.nightly_variants, **NewMethod.full_variants}
    if clash := [f"{name}-{suffix}" for suffix in suffixes if f"{name}-{suffix}" in ids]:
        raise PressbenchError(f"{name!r} would make the id {clash[0]!r}, which is taken; nothing was written")
    for path in map(Path, files):
        for other in (path, path.with_suffix("")):  # a package of a module's name would be read in its place
            if (root / other).exists():
                raise PressbenchError(f"{other} is there already; nothing was written")


def _write_all(files: Mapping[Path, str]) -> None:
    """All of them or none: what was written goes again where one cannot be."""
    from compressors.interface import PressbenchError

    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except BaseException as error:
        for done in written:
            done.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = f"{path} cannot be written: {error.strerror}; nothing was written"
            raise PressbenchError(reason) from None
        raise
