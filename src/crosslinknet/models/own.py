"""Networks of the user's own, by "package.module:Class": loaded on demand, held to the contract.

A config is data and may come from anywhere, so that a name in it never runs code by itself: only
who starts the program can allow it (``--allow-code``). Order: allow_code, own_class, load_class,
said_by, check_contract.
"""

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosslinknet.errors import UsageError

_ALLOWED = "XLN_ALLOW_CODE"  # in the environment, which processes of a training inherit
SIZES = ((64, 64), (45, 67))  # on which a network is tried
_NOT_THEIRS = (  # code that errors pass through: this package, torch, Python itself
    str(Path(__file__).parents[1]),
    str(Path(torch.__file__).parent),
    str(Path(os.__file__).parent),
    "<frozen",
)


def allow_code() -> None:
    """Let ``build_model`` import "package.module:Class", in this process and those it starts."""
    os.environ[_ALLOWED] = "1"


def own_class(name: str) -> Callable[..., nn.Module]:
    """Import a class of the user's own, the working folder included.

    Raises:
        UsageError: code was not allowed, or cannot be imported.
    """
    if os.environ.get(_ALLOWED) != "1":
        raise UsageError(
            f"model.name is {name!r}, code of your own, which runs only where you allow it: give "
            "--allow-code, or call crosslinknet.models.allow_code() first. Do so only for code you "
            "trust."
        )
    here = str(Path.cwd())
    if here not in sys.path:  # as python -m does; the command does not
        sys.path.insert(0, here)
    return load_class(name)


def load_class(name: str) -> Callable[..., nn.Module]:
    """The class or function behind "package.module:name".

    Raises:
        UsageError: no such module, or no such name in it.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            cure = "Run the command in the folder that holds it, or install it."
        else:
            cure = f"It imports {missing}, which is not installed."
        raise UsageError(
            f"model.name is {name!r}, but {module} cannot be imported ({error}). {cure}"
        ) from error
    except Exception as error:  # whatever the user's code does
        raise UsageError(
            f"model.name is {name!r}, but importing {module} fails: {said_by(error)}"
        ) from error
    if not callable(getattr(found, attribute, None)):
        raise UsageError(
            f"model.name is {name!r}, but {module} has no class or function {attribute!r}."
        )
    build: Callable[..., nn.Module] = getattr(found, attribute)
    return build


def said_by(error: BaseException) -> str:
    """An error of the user's code in one line, with the place in it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError in {error.filename}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)]
    place = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {error}{place}"


@torch.no_grad()
def check_contract(model: object, name: str, in_channels: int, num_classes: int) -> None:
    """Try a network on two sizes, and on a slice alone and beside another.

    Raises:
        UsageError: naming the clause it breaks, with what came.

    Warns:
        UserWarning: all that comes out lies in 0..1, as after a sigmoid.
    """
    if not isinstance(model, nn.Module):
        raise _broken(name, f"it must be a torch.nn.Module, and is a {type(model).__name__}")
    if not any(p.requires_grad for p in model.parameters()):
        raise _broken(name, "it must have parameters that can be trained, and has none")
    meta = any(p.device.type == "meta" for p in model.parameters())
    was_training = model.training
    model.eval()
    like_probabilities = not meta
    for height, width in SIZES:
        shape = (2, in_channels, height, width)
        image = torch.linspace(0, 1, 2 * in_channels * height * width).reshape(shape)
        image = image.to("meta") if meta else image
        before = image.clone()
        try:
            logits = model(image)
        except Exception as error:
            raise _broken(
                name,
                f"it must take images of any size, and fails on {shape}: {said_by(error)}; pad "
                "inside where it needs multiples (crosslinknet.models.contract)",
            ) from error
        if not isinstance(logits, Tensor):
            raise _broken(
                name,
                f"its call must give one tensor, and gives a {type(logits).__name__}; what a loss "
                "needs beyond it belongs into forward_for_loss",
            )
        expected = (2, num_classes, height, width)
        if logits.shape != expected:
            raise _broken(
                name, f"logits of {shape} must be {expected}, and are {tuple(logits.shape)}"
            )
        if not logits.is_floating_point():
            raise _broken(name, f"logits must be floats, and are {logits.dtype}")
        if not meta:
            if not torch.equal(image, before):
                raise _broken(name, "it must leave its input as it is, and changes it in place")
            _check_values(model, image, logits, name)
            like_probabilities &= _in_unit(logits) and _in_unit(model(200 * before - 100))
    model.train(was_training)
    if like_probabilities:
        warnings.warn(
            f"all that model {name!r} gives lies in 0..1, whatever it sees. If it ends in a "
            "sigmoid or a softmax, take that away: losses and prediction take logits and apply it "
            "themselves.",
            stacklevel=2,
        )


def _in_unit(values: Tensor) -> bool:
    return bool((values >= 0).all() and (values <= 1).all())


def _check_values(model: nn.Module, image: Tensor, logits: Tensor, name: str) -> None:
    if not logits.isfinite().all():
        raise _broken(name, "logits of a plain image must be finite, and hold NaN or infinity")
    apart = (model(image[:1]) - logits[:1]).abs().max()
    if apart > 1e-3 * max(1.0, float(logits.abs().max())):
        raise _broken(
            name,
            "in eval mode logits of a slice must not depend on the slices beside it, and differ by "
            f"{float(apart):.3g}",
        )


def _broken(name: str, clause: str) -> UsageError:
    return UsageError(f"model {name!r} breaks the contract of networks: {clause}.")
