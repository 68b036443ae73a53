"""crosslinknet: medical image segmentation, slice by slice.

The public names, loaded when they are first used, so that ``import crosslinknet`` and
``xln --help`` take no time.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {  # public name -> module that defines it
    "MODELS": "crosslinknet.models",
    "build_model": "crosslinknet.models",
    "check_data": "crosslinknet.curation.check",
    "compare_methods": "crosslinknet.compare",
    "demo": "crosslinknet.experiments.demo",
    "doctor": "crosslinknet.experiments.doctor",
    "evaluate_folders": "crosslinknet.evaluate",
    "find_inputs": "crosslinknet.predict",
    "init": "crosslinknet.experiments.init",
    "load": "crosslinknet.predict",
    "load_config": "crosslinknet.config",
    "predict_to_folder": "crosslinknet.predict",
    "run": "crosslinknet.experiments.crossval",
    "run_fold": "crosslinknet.experiments.crossval",
    "write_report": "crosslinknet.report",
    "write_reporting": "crosslinknet.report",
    "write_scores": "crosslinknet.report",
}
_MODULES = ("metrics",)

__all__ = ["__version__", *_PLACES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"crosslinknet.{name}")
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'crosslinknet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES, *_MODULES])
