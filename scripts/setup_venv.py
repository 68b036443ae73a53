"""Make .venv: the exact versions of constraints.txt and a torch that fits this machine.

Run by the Makefile, with the standard library alone: ``python3 scripts/setup_venv.py``.
Which torch: one that imports inside .venv is kept, whatever its version. Where an NVIDIA
driver answers, pip's default build. Otherwise the CPU build, from PyTorch's own index where
that can be reached and from the ordinary one where it cannot. A torch of the system's Python
is not looked at: .venv stands alone.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    """Bring .venv up to date; safe to run again at any time."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever python3 a machine has runs this file
        sys.exit(
            f"{sys.executable} is Python {sys.version.split()[0]}, crosslinknet needs 3.11 or "
            "newer. Name one: make demo PYTHON=python3.12"
        )
    make_venv()
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    if not succeeds(PYTHON, "-c", "import torch"):
        install_torch(pinned(constraints, "torch"), nvidia=driver_answers())
    install_package(constraints)


def make_venv() -> None:
    """Create .venv, or anew where one is there whose pip does not run."""
    if not succeeds(PYTHON, "-m", "pip", "--version"):
        run(sys.executable, "-m", "venv", "--clear", VENV)


def install_torch(version: str, nvidia: bool) -> None:
    """Install torch alone; what it needs comes with the rest, from the ordinary index."""
    for options in torch_attempts(nvidia):
        if run(
            PYTHON, "-m", "pip", "install", "--no-deps", f"torch=={version}", *options, check=False
        ):
            return
    sys.exit(
        f"torch {version} could not be installed; pip says why above. With a torch that you "
        "install into .venv yourself, the same command goes on from there."
    )


def torch_attempts(nvidia: bool) -> list[list[str]]:
    """Options of pip, best first; the CPU index may be out of reach and must not cost minutes."""
    default: list[str] = []
    cpu = ["--extra-index-url", CPU_INDEX, "--retries", "0", "--timeout", "3"]
    return [default] if nvidia else [cpu, default]


def install_package(constraints: str) -> None:
    """Install crosslinknet, editable, with its tools and the extras that its tests need.

    The torch that is there stays.
    """
    torch = subprocess.check_output(
        [PYTHON, "-c", "from importlib.metadata import version; print(version('torch'))"], text=True
    ).strip()
    used = VENV / "constraints.txt"
    used.write_text(re.sub(r"(?m)^torch==.*$", f"torch=={torch}", constraints), encoding="utf-8")
    extras = f"{ROOT}[dev,dicom,io]"
    run(PYTHON, "-m", "pip", "install", "--constraint", used, "--editable", extras)


def pinned(constraints: str, name: str) -> str:
    """The version of one package in constraints.txt."""
    found = re.search(rf"(?m)^{re.escape(name)}==(\S+)$", constraints)
    if found is None:
        sys.exit(f"constraints.txt names no exact version of {name}; add a line {name}==VERSION.")
    return found[1]


def driver_answers() -> bool:
    """Whether this machine has an NVIDIA GPU that can be used now."""
    return succeeds("nvidia-smi")


def succeeds(*command: object) -> bool:
    """Whether a command exists, ends within a minute and exits with 0; its output is dropped."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def run(*command: object, check: bool = True) -> bool:
    """Show a command, run it, and stop here if it must not fail."""
    print("+", *command, flush=True)
    code = subprocess.run(list(map(str, command))).returncode
    if code and check:
        sys.exit(code)
    return code == 0


if __name__ == "__main__":
    main()
