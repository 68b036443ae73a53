"""What `make demo` and `make test` install: exact versions, and the right torch."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SETUP = runpy.run_path(str(ROOT / "scripts" / "setup_venv.py"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {
    normal(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)$", CONSTRAINTS)
}
EXTRAS = PROJECT["optional-dependencies"].values()
DECLARED = [*PROJECT["dependencies"], *(package for extra in EXTRAS for package in extra)]


@pytest.mark.parametrize("text", DECLARED)
def test_every_declared_package_has_an_exact_version_inside_its_range(text: str):
    requirement = Requirement(text)
    assert PINS[normal(requirement.name)] in requirement.specifier


def test_constraints_hold_nothing_but_exact_versions_and_comments():
    lines = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(PINS)
    assert not any("+" in version for version in PINS.values())  # torch+cpu is not on every index


def test_without_a_gpu_the_cpu_build_comes_first_and_its_index_may_be_out_of_reach():
    first, second = SETUP["torch_attempts"](nvidia=False)
    assert first == f"--extra-index-url {SETUP['CPU_INDEX']} --retries 0 --timeout 3".split()
    assert second == []


def test_with_an_nvidia_driver_pip_takes_its_default_build():
    assert SETUP["torch_attempts"](nvidia=True) == [[]]


def test_the_torch_of_the_constraints_is_the_one_to_install():
    assert SETUP["pinned"](CONSTRAINTS, "torch") == PINS["torch"]
    with pytest.raises(SystemExit, match="names no exact version of nothing"):
        SETUP["pinned"](CONSTRAINTS, "nothing")


def test_a_command_that_does_not_exist_does_not_succeed():
    assert not SETUP["succeeds"]("no-such-command-here")


SKIPS = runpy.run_path(str(ROOT / ".ci" / "skips.py"))

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="c"><skipped message="needs XLN_TEST_DATA">x</skipped></testcase>
<testcase classname="a" name="d" />
<testcase classname="" name="b"><skipped message="collection skipped">{file}</skipped></testcase>
<testcase classname="a" name="e"><skipped message="{message}">x</skipped></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize("message", ["", "Skipped", "unconditional skip"])
def test_ci_fails_on_a_skip_without_a_reason(tmp_path: Path, message: str):
    path = tmp_path / "report.xml"
    path.write_text(REPORT.format(file="('b.py', 2, 'Skipped')", message=message))
    with pytest.raises(SystemExit) as caught:
        SKIPS["main"](str(path))
    assert str(caught.value).split("\n  ")[1:] == ["::b", "a::e"]


def test_ci_is_silent_about_skips_that_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "report.xml"
    path.write_text(REPORT.format(file="('b.py', 2, 'Skipped: no GPU')", message="slow"))
    SKIPS["main"](str(path))
    assert capsys.readouterr().out == ""
