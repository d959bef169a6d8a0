"""The files for Slurm and Kubernetes, which could not be run here: sound, and every command in them is understood."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from benchmarks.matrix.options import ROOT, add_options
from pressbench.cli import app

DOCS = ROOT / "docs"
SLURM, KUBERAY = DOCS / "cluster" / "pressbench.sbatch", DOCS / "cluster" / "kuberay.yaml"


def commands() -> list[str]:
    """Every call of pressbench cluster and of pytest benchmarks in the page and its files."""
    text = "\n".join(path.read_text() for path in (DOCS / "cluster.md", SLURM, KUBERAY)).replace("\\\n", " ")
    text = text.replace('"$port"', "6379")
    text = re.sub(r"\"?\$\(\(.*?\)\)\"?", "1", text)
    found = re.findall(r"((?:pressbench cluster (?:show|head|join)|pytest benchmarks)[^\n#`&\]]*)", text)
    found = [one.replace('"$@"', "") for one in found if "--cluster" in one or "pressbench" in one]
    return [one.rstrip('"') if one.count('"') % 2 else one for one in found]


def test_there_are_some() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", commands())
def test_a_command_is_understood(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "pytest":
        parser = argparse.ArgumentParser(exit_on_error=False)
        add_options(parser.add_argument)
        assert parser.parse_args(words[2:]).cluster
    else:
        cluster = get_command(app).commands["cluster"]  # type: ignore[attr-defined]
        with cluster.make_context("cluster", words[2:]):
            pass


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_the_script_is_sound() -> None:
    assert subprocess.run(["bash", "-n", str(SLURM)], check=False).returncode == 0
    wanted = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", SLURM.read_text(), re.M))
    assert wanted.keys() >= {"nodes", "ntasks-per-node", "exclusive"} and wanted["ntasks-per-node"] == "1"


def test_nodes_on_kubernetes_have_whole_cores_and_join_by_pressbench() -> None:
    cluster = yaml.safe_load(KUBERAY.read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    groups = cluster["spec"]["workerGroupSpecs"]
    assert len({group["groupName"] for group in groups}) == 2
    for group in groups:
        pod = group["template"]
        assert pod["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] == "true"
        (container,) = pod["spec"]["containers"]
        asked, allowed = container["resources"]["requests"], container["resources"]["limits"]
        assert asked == allowed and asked["cpu"].isdigit(), "the static CPU manager wants whole ones"
        assert "pressbench cluster join" in container["args"][0]
        (volume,) = pod["spec"]["volumes"]
        assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]


def test_the_page_says_that_they_were_not_run() -> None:
    assert "Neither has been run" in Path(DOCS / "cluster.md").read_text()
