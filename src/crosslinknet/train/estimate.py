"""How long a training will take, and how much memory, from one step that is measured."""

import math
import sys
import time

import torch

from crosslinknet.data import make_loader, size_at
from crosslinknet.train.loop import Loop, forward, scaled_size


def forecast(loop: Loop) -> str:
    """Time and memory of this fold's training from one measured step that leaves no trace.

    A first step that is not measured warms up; validation and prediction are not counted.
    """
    train, epochs = loop.config.train, loop.config.train.epochs
    scales = train.scales or [1.0]
    largest = max(scales)
    cuda = loop.fabric.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = _peak_memory()  # of an earlier fold, with its optimizer's moments
    buffers = {name: value.clone() for name, value in loop.bare.named_buffers()}
    batch = next(iter(make_loader(loop.batches(loop.progress.epoch), loop.dataset, 0)))
    loop.model.train()
    seconds = 0.0
    for _ in range(2):
        began = time.monotonic()
        loop.fabric.backward(forward(loop, batch, largest).total)
        if cuda:
            torch.cuda.synchronize()
        seconds = time.monotonic() - began
        loop.optimizer.zero_grad()
    for name, value in loop.bare.named_buffers():
        value.copy_(buffers[name])

    measured = math.prod(scaled_size(size_at(loop.config, loop.progress.epoch), largest))
    batches = 0.0  # in units of the measured one
    for epoch in range(loop.progress.epoch, epochs):
        sizes = [scaled_size(size_at(loop.config, epoch), scale) for scale in scales]
        pixels = sum(map(math.prod, sizes)) / len(sizes)
        batches += len(loop.batches(epoch)) * pixels / measured
    peak = torch.cuda.max_memory_allocated() if cuda else _peak_memory()
    moments = moments_to_come(loop, rose=cuda or peak > before)
    size = "x".join(map(str, scaled_size(size_at(loop.config, loop.progress.epoch), largest)))
    return (
        f"{len(loop.dataset)} training slices; one batch of {train.batch_size} at {size} took "
        f"{seconds:.2f} s; expect {duration(batches * seconds)} and "
        f"{(peak + moments) / 2**30:.1f} GiB of memory on {loop.fabric.device}"
    )


def moments_to_come(loop: Loop, rose: bool) -> int:
    """Bytes of what the optimizer makes at its first step.

    Args:
        loop: of the training.
        rose: whether the measured step needed more memory than the process had used before; if not,
            an earlier fold had such moments, and the peak holds them.
    """
    if loop.progress.step > 0 or not rose:
        return 0
    weights = sum(p.numel() * 4 for p in loop.bare.parameters() if p.requires_grad)
    return weights if loop.config.train.optimizer == "sgd" else 2 * weights


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(59), duration(170), duration(7300)
    ('59 s', '3 min', '2 h 2 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _peak_memory() -> int:
    """Peak resident memory of this process, in bytes; 0 where the system does not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
