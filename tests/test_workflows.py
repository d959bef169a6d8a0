"""The workflows for GitHub: their rights, what reaches a shell, and their scripts run by a real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, step) for name, job in workflow["jobs"].items() for step in job["steps"]]


def script(workflow: str, name: str) -> str:
    found_in = load(ROOT / ".github" / "workflows" / workflow)
    (found,) = [step["run"] for _, step in steps(found_in) if step.get("name") == name]
    return found


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def test_nothing_is_pasted_into_a_shell(workflow: dict[str, Any]) -> None:
    scripts = [step["run"] for _, step in steps(workflow) if "run" in step]
    assert scripts
    assert not [text for text in scripts if "${{" in text]


def test_who_may_write_runs_nothing_of_the_repository(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        if "write" in job["permissions"].values():
            assert job["permissions"] == {"issues": "write"}
            uses = [step.get("uses", "") for owner, step in steps(workflow) if owner == name]
            assert not [action for action in uses if action.startswith("actions/checkout")]
            assert job["runs-on"] == "ubuntu-latest"
        else:
            assert job["permissions"] == {"contents": "read"}


def test_no_token_is_left_in_the_checkout_and_actions_are_pinned(workflow: dict[str, Any]) -> None:
    used = [step for _, step in steps(workflow) if "uses" in step]
    for step in used:
        assert re.fullmatch(r"actions/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_a_machine_measures_one_thing_at_a_time_and_for_no_strangers() -> None:
    found = [load(path) for path in WORKFLOWS]
    groups = {job["concurrency"]["group"] for one in found for job in one["jobs"].values() if "strategy" in job}
    assert groups == {"pressbench-${{ join(matrix.runner, '-') }}"}
    for one in found:
        assert set(one[True]) <= {"schedule", "workflow_dispatch"}  # YAML 1.1 reads `on` as true


SCHEMA = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
MISSPELT = [("    runs-on:", "    run-on:"), ("timeout-minutes:", "timeout-minute:"), ("  schedule:", "  scheduled:")]


def test_github_would_read_the_workflows() -> None:
    done = subprocess.run([sys.executable, *SCHEMA, *WORKFLOWS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("right", "wrong"), MISSPELT)
def test_a_misspelt_key_of_a_workflow_is_caught(tmp_path: Path, right: str, wrong: str) -> None:
    text = (ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "nightly.yml").write_text(text.replace(right, wrong, 1), encoding="utf-8")
    command = [sys.executable, *SCHEMA, tmp_path / "nightly.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Schema validation errors" in done.stdout


# -- the scripts -----------------------------------------------------------------------------------


class Shell:
    """A folder in which a step's script runs, with programs of our own that note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        (folder / "bin").mkdir()

    def program(self, path: str, body: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >> "{self.calls}"\n{body}\n')
        file.chmod(0o755)

    def run(self, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # As GitHub's runners do for a step that names no shell.
        (self.folder / "step.sh").write_text(text)
        paths = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder)}
        return subprocess.run(
            ["bash", "-e", "step.sh"],
            cwd=self.folder, env={**paths, **environment}, capture_output=True, text=True, timeout=30,
        )  # fmt: skip

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


GH = """
case "$1 $2" in
  "issue list") while [ "$1" != --jq ]; do shift; done; printf '%s' "$OPEN" | jq -r "$2" ;;
  "issue create" | "issue comment") while [ "$1" != --body-file ]; do shift; done; cat "$2" >> bodies ;;
esac
"""
OPEN = '[{{"number": 7, "title": "Regression on self-hosted-amx"}}, {{"number": 8, "title": "{}"}}]'


@pytest.mark.skipif(not shutil.which("jq"), reason="jq stands in for the one that gh has built in")
@pytest.mark.parametrize(
    ("open_title", "expected"),
    [
        ("Regression on $(touch planted)", "issue comment 8 --body-file {text}"),
        ("something else", "issue create --title Regression on $(touch planted) --label regression --body-file {text}"),
    ],
)
def test_an_issue_is_opened_once_for_each_machine(shell: Shell, open_title: str, expected: str) -> None:
    shell.program("bin/gh", GH)
    text = Path("regressions") / "regressions-$(touch planted)" / "issue.md"
    (shell.folder / text).parent.mkdir(parents=True)
    (shell.folder / text).write_text("1 regression\n")
    done = shell.run(
        script("nightly.yml", "Open an issue for each machine, or add to the one that is open"),
        OPEN=OPEN.format(open_title), RUN_URL="https://a.example/runs/5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = [call for call in shell.called() if call.startswith(("issue create", "issue comment"))]
    assert made == [expected.format(text=text)]
    assert (shell.folder / "bodies").read_text() == "1 regression\n\n[The workflow run](https://a.example/runs/5)\n"
    assert not (shell.folder / "planted").exists()


def test_no_issue_where_nothing_regressed(shell: Shell) -> None:
    shell.program("bin/gh", GH)
    done = shell.run(script("nightly.yml", "Open an issue for each machine, or add to the one that is open"))
    assert (done.returncode, shell.called()) == (0, []), done.stderr


@pytest.mark.parametrize(("code", "told"), [(0, "regressed=0\n"), (1, "regressed=1\n"), (4, None)])
def test_what_a_run_wrote_is_collected_and_nothing_older(shell: Shell, code: int, told: str | None) -> None:
    shell.program(".venv/bin/pressbench", f"echo text; exit {code}")
    kept = shell.folder / "kept folder"
    for kind in ("runs", "qualifications"):
        (kept / kind).mkdir(parents=True)
        (kept / kind / "old.jsonl").write_text("old")
        os.utime(kept / kind / "old.jsonl", (1, 1))
        (kept / kind / "new.jsonl").write_text("new")
    (shell.folder / "temp").mkdir()
    began, junit = shell.folder / "temp" / "began", shell.folder / "temp" / "junit.xml"
    began.touch()
    os.utime(began, (1000, 1000))
    junit.touch()
    output = shell.folder / "output"
    done = shell.run(
        script("nightly.yml", "Collect what this run has written"),
        KEPT=str(kept), RUNNER_TEMP=str(shell.folder / "temp"), GITHUB_OUTPUT=str(output),
    )  # fmt: skip
    results = shell.folder / "temp" / "results"
    files = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    assert files == {"runs/new.jsonl", "qualifications/new.jsonl", "regressions/issue.md", "junit.xml"}
    assert (results / "regressions" / "issue.md").read_text() == "text\n"
    assert (done.returncode, output.read_text() if output.exists() else None) == (0 if told else code, told)


def test_a_run_that_never_began_finds_no_regression_of_the_night_before(shell: Shell) -> None:
    shell.program(".venv/bin/pressbench", "exit 1")
    (shell.folder / "runs").mkdir()
    (shell.folder / "qualifications").mkdir()
    (shell.folder / "runs" / "old.jsonl").write_text("old")
    (shell.folder / "began").touch()
    os.utime(shell.folder / "runs" / "old.jsonl", (1, 1))
    place = str(shell.folder)
    done = shell.run(
        script("nightly.yml", "Collect what this run has written"),
        KEPT=place, RUNNER_TEMP=place, GITHUB_OUTPUT=str(shell.folder / "output"),
    )  # fmt: skip
    assert (done.returncode, shell.called()) == (0, []), done.stderr
    assert not (shell.folder / "output").exists()


def test_the_run_is_started_through_make_with_the_options_that_are_meant(shell: Shell) -> None:
    shell.program("bin/make", "")
    done = shell.run(script("nightly.yml", "Measure"), TIER="nightly", REQUIRE="84", KEPT="/k e p t", RUNNER_TEMP="/t")
    assert done.returncode == 0, done.stderr
    assert shell.called() == [
        "bench ARGS=--tier nightly --require 84 --fail-unresolved --baselines baselines/accepted "
        "--results '/k e p t/runs' "
        "--qualifications '/k e p t/qualifications' --junitxml '/t/junit.xml'"
    ]


@pytest.mark.parametrize("code", [0, 1])
def test_a_machine_that_is_not_qualified_fails_its_job_and_the_summary_says_why(shell: Shell, code: int) -> None:
    shell.program(".venv/bin/pressbench", f"echo '# not a heading'; exit {code}")
    summary = shell.folder / "summary.md"
    done = shell.run(
        script("qualify.yml", "Qualify"),
        KEPT=str(shell.folder), RUNNER_TEMP=str(shell.folder), GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert done.returncode == code
    assert "# not a heading" in done.stdout
    assert summary.read_text() == "## Qualification\n\n    # not a heading\n"
