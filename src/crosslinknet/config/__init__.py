"""Everything a run can be told: frozen pydantic models, data only, an unknown key is an error.

One definition serves the Python call, the YAML file, ``-s train.epochs=40`` on the command
line, the comments that ``xln init`` writes and the published JSON Schema.
Order: recipes.py, section.py, of_data.py, of_training.py, of_results.py, whole.py, text.py.
"""

from crosslinknet.config.of_data import WINDOWS, DataConfig, ImageConfig, SplitConfig
from crosslinknet.config.of_results import EvaluateConfig, OutputConfig, PredictConfig
from crosslinknet.config.of_training import (
    EXCLUSIVE,
    AugmentConfig,
    LossConfig,
    ModelConfig,
    SemiConfig,
    TrainConfig,
)
from crosslinknet.config.recipes import ATTENTIVE, PUBLISHED, RECIPES, decided_keys
from crosslinknet.config.text import (
    data_at,
    json_schema,
    load_config,
    override,
    parse_config,
    to_dict,
    to_yaml,
)
from crosslinknet.config.whole import Config

__all__ = [
    "ATTENTIVE",
    "EXCLUSIVE",
    "PUBLISHED",
    "RECIPES",
    "WINDOWS",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "ImageConfig",
    "LossConfig",
    "ModelConfig",
    "OutputConfig",
    "PredictConfig",
    "SemiConfig",
    "SplitConfig",
    "TrainConfig",
    "data_at",
    "decided_keys",
    "json_schema",
    "load_config",
    "override",
    "parse_config",
    "to_dict",
    "to_yaml",
]
