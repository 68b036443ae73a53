"""``xln data twin``: the command around ``datasets.twins``."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crosslinknet.cli import app
from crosslinknet.datasets.twins import TWINS
from crosslinknet.errors import UsageError

RUN = CliRunner()


def test_a_twin_is_written_and_the_next_step_is_named(tmp_path: Path):
    out = tmp_path / "twin"
    done = RUN.invoke(
        app, ["data", "twin", "covid19-volumes", "-o", str(out), "--subjects", "3", "--seed", "5"]
    )
    assert done.exit_code == 0
    assert done.stdout == f"Wrote {out}, made up. Next: xln init {out} -o exp.yaml\n"
    assert sorted(path.name for path in out.iterdir()) == [f"subject_00{n}" for n in (1, 2, 3)]


def test_errors_are_those_of_the_library(tmp_path: Path):
    done = RUN.invoke(app, ["data", "twin", "kits", "-o", str(tmp_path / "twin")])
    assert isinstance(done.exception, UsageError)


def test_help_names_every_twin_and_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['xln', 'data', 'twin', '--help']\n"
        "from crosslinknet.cli import main\n"
        "try: main()\n"
        "finally: print('LOADED', *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    words = re.findall(r"[\w-]+", re.sub(r"-\n +", "-", done.stdout))
    assert all(name in words for name in TWINS)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "crosslinknet" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "nibabel", "scipy", "PIL"})


@pytest.mark.parametrize("words", [["data"], ["data", "twin"], ["data", "twin", "kits19"]])
def test_an_incomplete_call_is_a_wrong_call(words: list[str]):
    assert RUN.invoke(app, words).exit_code == 2
