"""Everything a run can be told: frozen pydantic models, data only, an unknown key is an error.

One definition serves the Python call, the YAML file, ``-s train.epochs=40`` on the command
line, the comments that ``xln init`` writes and the published JSON Schema.
Order: recipes.py, sections.py, then text.py.
"""

from crosslinknet.config.recipes import ATTENTIVE, PUBLISHED, RECIPES, decided_keys
from crosslinknet.config.sections import (
    WINDOWS,
    AugmentConfig,
    Config,
    DataConfig,
    EvaluateConfig,
    ImageConfig,
    LossConfig,
    ModelConfig,
    OutputConfig,
    PredictConfig,
    SplitConfig,
    TrainConfig,
)
from crosslinknet.config.text import (
    data_at,
    json_schema,
    load_config,
    override,
    parse_config,
    to_dict,
    to_yaml,
)

__all__ = [
    "ATTENTIVE",
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
