"""What a comparison says: frozen models that become JSON, with their published schema.

Order: methods, pairs, Panel, Comparison, its schema. docs/comparison.schema.json is made from here.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT: Literal["crosslinknet/comparison/1"] = "crosslinknet/comparison/1"
Interval = tuple[float, float]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Part):
    name: str
    kind: Literal["run", "evaluation", "nnunet"]
    paths: list[str] = Field(description="several for one method with several seeds")


class MethodScore(Part):
    name: str
    mean: float = Field(description="over the panel's subjects, of their means over images")
    interval: Interval | None = Field(description="95 %, BCa bootstrap over subjects")
    median: float
    std: float | None = Field(description="over subjects")
    fold_std: float | None = Field(description="of the folds' means; null outside of folds")
    seeds: int | None = Field(
        description="trainings that are averaged; null where the source does not tell"
    )
    seed_std: float | None = Field(description="of the seeds' means; null with one seed")
    mean_rank: float = Field(description="mean over subjects, 1 is best")
    place: float = Field(description="by the mean; 1 is best, equal ones share")
    place_shares: list[float] = Field(
        description="share of resamples in which it takes each place; [] without resamples"
    )
    n_missed: int = Field(description="pairs of the class with an empty prediction, first training")
    n_false_alarm: int
    n_both_empty: int


class PairScore(Part):
    first: str
    second: str
    n: int = Field(description="subjects with a value for both")
    mean: float = Field(description="mean of first minus second")
    interval: Interval | None = Field(description="95 %, BCa bootstrap over subjects")
    median: float
    p: float | None = Field(description="Wilcoxon signed-rank, two-sided; null without difference")
    p_holm: float | None = Field(description="corrected for all pairs and classes of the metric")
    effect: float = Field(description="matched-pairs rank-biserial correlation, -1 to 1")
    larger: int = Field(description="subjects in which the first has the larger value")
    smaller: int
    ties: int


class Panel(Part):
    """One class and metric."""

    class_name: str
    metric: str
    heading: str
    unit: Literal["%", "mm", "px"]
    higher_is_better: bool
    subjects: int = Field(description="with a value for every method")
    methods: list[MethodScore]
    pairs: list[PairScore]
    friedman_p: float | None = Field(description="null for two methods")
    rank_stability: float | None = Field(description="mean Kendall tau of resampled orders")
    groups: list[list[str]] = Field(description="methods of which no two differ at 0.05")


class Comparison(Part):
    format: Literal["crosslinknet/comparison/1"] = FORMAT
    level: Literal["image", "case"]
    settings: dict[str, str | float | None] = Field(
        description="policy and the like, equal for all"
    )
    distance_unit: Literal["mm", "px"]
    classes: list[str]
    images: int = Field(description="that are compared, by all methods")
    subjects: int
    resamples: int
    sources: list[Source]
    warnings: list[str]
    panels: list[Panel]


def comparison_schema() -> dict[str, Any]:
    """The JSON Schema of comparison.json."""
    schema = Comparison.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
