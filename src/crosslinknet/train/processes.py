"""A training in several processes, one per device: started, listened to, stopped, agreeing.

The process that was called only waits. It hears what process 0 tells and passes Ctrl-C on, so what
follows a training (predictions, scores, report) happens once, whatever ``train.devices`` says.
Order: launch, the two ends of the pipes, what processes agree on.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from threading import Thread
from typing import Any

import torch
from lightning.fabric import Fabric
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from crosslinknet.errors import CrosslinkError
from crosslinknet.train.state import Console, Progress, on_stop_signals


def launch(
    work: Callable[..., Any], fabric: Fabric, processes: int, console: Console, *arguments: Any
) -> Any:
    """Call ``work(fabric, console, *arguments)``, in new processes if there are to be several.

    Args:
        work: a function of a module; new processes import it.
        fabric: not launched yet.
        processes: how many; 1 means this one.
        console: hears process 0.
        arguments: can be pickled where there are several processes.

    Returns:
        What ``work`` returns in process 0.

    Raises:
        CrosslinkError, KeyboardInterrupt: as ``work`` raises them in any process.
    """
    if processes == 1:
        return work(fabric, console, *arguments)
    pipes = [Pipe(duplex=False) for _ in range(processes)]
    readers, writers = zip(*pipes, strict=True)
    errors: list[BaseException] = []
    told: list[int] = []

    def tell_all(signum: int) -> None:
        told.append(signum)
        for process in multiprocessing.active_children():
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGTERM)

    listener = Thread(target=_listen, args=(readers, console, errors), daemon=True)
    listener.start()
    result, failure = None, None
    try:
        with on_stop_signals(tell_all):
            result = fabric.launch(partial(_work, work, writers, arguments))
    except (ProcessExitedException, ProcessRaisedException) as error:
        failure = error
    finally:
        for writer in writers:
            writer.close()
        listener.join()
    if errors:
        raise errors[0]
    if told:
        raise KeyboardInterrupt from failure
    if failure:
        raise failure
    return result


def _work(
    work: Callable[..., Any],
    writers: Sequence[Connection],
    arguments: tuple[Any, ...],
    fabric: Fabric,
) -> Any:
    """One of the new processes. Errors go through the pipe, so that they keep their class."""
    writer = writers[fabric.global_rank]
    console = _Relay(writer) if fabric.is_global_zero else Console()
    try:
        return work(fabric, console, *arguments)
    except KeyboardInterrupt as stop:  # all processes stop together, this is no failure
        _send(writer, stop)
        return None
    except CrosslinkError as error:
        _send(writer, error)
        raise


def _send(writer: Connection, message: Any) -> None:
    """Tell the process that waits; nothing if it is gone, whose death stops this one as well."""
    with suppress(OSError):
        writer.send(message)


class _Relay(Console):
    """Sends what is told to the process that waits."""

    def __init__(self, writer: Connection) -> None:
        self.writer = writer

    def say(self, text: str) -> None:
        _send(self.writer, ("say", text))

    def warn(self, text: str) -> None:
        _send(self.writer, ("warn", text))

    def step(self, progress: Progress, steps: int, total: int, loss: float) -> None:
        _send(self.writer, ("step", progress, steps, total, loss))

    def row(self, row: dict[str, float | None], epochs: int) -> None:
        _send(self.writer, ("row", row, epochs))


def _listen(readers: Sequence[Connection], console: Console, errors: list[BaseException]) -> None:
    """Hand on what comes until every process has closed its pipe."""
    left = list(readers)
    while left:
        for reader in wait(left):
            assert isinstance(reader, Connection)
            try:
                message = reader.recv()
            except (EOFError, OSError):
                left.remove(reader)
                continue
            if isinstance(message, BaseException):
                errors.append(message)
            else:
                name, *arguments = message
                getattr(console, name)(*arguments)


def ranks_that_say(fabric: Fabric, yes: bool) -> list[int]:
    """Ranks of the processes in which ``yes`` is true; every process gets the same answer."""
    if fabric.world_size == 1:
        return [0] if yes else []
    mine = torch.zeros(fabric.world_size)
    mine[fabric.global_rank] = float(yes)
    answers = fabric.all_reduce(mine, reduce_op="sum")  # (world,)
    assert isinstance(answers, torch.Tensor)
    return [rank for rank, answer in enumerate(answers.tolist()) if answer]


def mean_over_processes(fabric: Fabric, values: list[float]) -> list[float]:
    """Mean of each value over all processes."""
    if fabric.world_size == 1:
        return values
    means = fabric.all_reduce(torch.tensor(values, dtype=torch.float64), reduce_op="mean")
    assert isinstance(means, torch.Tensor)
    return [float(mean) for mean in means]
