"""What every command and every option of the suite says of itself: what it takes, and in no type of Python."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from benchmarks.matrix.options import add_options
from pressbench.cli import app

GROUP: Any = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)


def shown(call: Any, *command: str) -> str:
    code, out, _ = call(*command, "--help")
    assert code == 0
    return str(out)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_help_names_a_type_of_python(call: Any, command: str) -> None:
    out = shown(call, *filter(None, [command]))
    assert re.findall(r"<\w+[^>]*>", out) == [] and "[[" not in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_takes_and_what_for(command: str) -> None:
    own: Any = GROUP.commands[command]
    params = own.get_params(typer.Context(own))
    assert params
    for param in params:
        assert len(param.help or "") > 10, param.name
        assert param.help[0].isupper() or param.name == "format" or param.name == "measure", param.name
        if getattr(param, "is_flag", False):
            assert param.metavar == "", param.name
        else:
            assert re.fullmatch(r"[A-Z]+(\|[A-Z]+)*|[a-z]+(\|[a-z]+)+", param.metavar or ""), param.name


@pytest.mark.parametrize(
    ("command", "option", "told"),
    [
        ("table", "--columns", "accuracy,speedup,size"),
        ("table", "--runs", "where the last run was written"),
        ("latest", "--runs", "s3://bucket/runs"),
        ("history", "CASE", "int8-openvino-minilm-bbc-cpu"),
        ("compare", "--sort", "-change"),
        ("list", "--tier", "quick, nightly, or full"),
    ],
)
def test_what_is_not_plain_has_an_example(call: Any, command: str, option: str, told: str) -> None:
    out = " ".join(shown(call, command).replace("│", " ").split())
    assert told in out[out.index(f" {option} ") :]


def test_the_options_of_the_suite_say_what_they_take() -> None:
    seen: dict[str, dict[str, Any]] = {}
    add_options(lambda name, **how: seen.update({name: how}))
    assert len(seen) > 25
    for name, how in seen.items():
        assert len(how["help"]) > 15, name
        if how.get("action") != "store_true":
            form = r"[A-Z=]+(\|[A-Z]+)*|[a-z]+(\|[a-z]+)+|NAME\[:KEY=VALUE,…\]|1pt\|5%|\[NAME=\]PATH"
            assert re.fullmatch(form, how["metavar"]), name
        if how.get("default") is not None:
            assert "(default: " in how["help"], f"{name}: what is it, unless it is given?"
