"""Every promise runs: commands, Python, YAML and links of the README and of docs/."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from crosslinknet.cli import app
from crosslinknet.config import load_config, parse_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def command_lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.splitlines():
                if line.startswith("$ xln "):
                    yield page.name, line.removeprefix("$ xln ")


def test_the_pages_hold_commands_and_python() -> None:
    assert len(list(command_lines())) > 10
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 2


@pytest.mark.parametrize(("page", "line"), list(command_lines()))
def test_every_command_of_the_pages_exists_with_its_options(page: str, line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line, comments=True)
    while hasattr(command, "commands"):  # xln data check: a group holds its commands
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(name, words)  # parses, runs nothing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_the_pages_runs(page: Path, finished_run: Path) -> None:
    before = Path.cwd()
    os.chdir(finished_run)
    try:
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), {"image": np.zeros((64, 64), np.uint8)})
    finally:
        os.chdir(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_of_the_pages_is_accepted(page: Path) -> None:
    for block in blocks(page, "yaml"):
        parse_config({"data": {"root": "."} | yaml.safe_load(block).get("data", {})})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_committed_config_is_accepted(config: Path) -> None:
    assert load_config(config).output.name
