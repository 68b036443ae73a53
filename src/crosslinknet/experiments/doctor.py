"""A look at the machine: what is installed, what it can compute, where it may run out."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from crosslinknet.runs import hardware, versions
from crosslinknet.train import has_bf16

LEAST_DISK, LEAST_MEMORY = 5, 4  # GiB


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, what it is, whether it is fine."""

    name: str
    value: str
    ok: bool = True


def doctor(folder: str | Path = Path()) -> list[Finding]:
    """Examine this machine and the folder that runs would be written to.

    Args:
        folder: where runs go; it need not exist yet.

    Returns:
        Findings in reading order; ``ok`` is False where a training would fail or suffer.
    """
    facts = hardware()
    found = [
        Finding(
            name,
            version,
            sys.version_info >= (3, 11) if name == "python" else version != "not installed",
        )
        for name, version in versions().items()
    ]
    gpus = ", ".join(facts["gpus"])
    found += [
        Finding(
            "processor", f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads"
        ),
        Finding("gpu", gpus or "none; training runs on the processor, slowly for large images"),
        Finding("bf16", "in hardware" if has_bf16("auto") else "not in hardware; 32 bit is used"),
        Finding("speed", f"{_speed():.0f} GFLOP/s in 3x3 convolutions on the processor"),
    ]
    memory = _memory_gib()
    if memory is not None:
        found.append(Finding("memory", f"{memory:.1f} GiB free", memory >= LEAST_MEMORY))
    place = Path(folder).resolve()
    place = next(path for path in (place, *place.parents) if path.exists())
    disk, writable = shutil.disk_usage(place).free / 2**30, os.access(place, os.W_OK)
    found += [
        Finding("disk", f"{disk:.0f} GiB free in {place}", disk >= LEAST_DISK),
        Finding("folder", f"{place} is {'' if writable else 'not '}writable", writable),
    ]
    return found


def _speed() -> float:
    """GFLOP/s of a typical convolution, forward."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False)
    x = torch.randn(1, 64, 128, 128)
    with torch.inference_mode():
        layer(x)
        began = time.perf_counter()
        layer(x)
        seconds = time.perf_counter() - began
    return 2 * layer.weight.numel() * 128 * 128 / seconds / 1e9


def _memory_gib() -> float | None:
    """Memory that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    free = next((line for line in lines if line.startswith("MemAvailable")), None)
    return int(free.split()[1]) / 2**20 if free else None
