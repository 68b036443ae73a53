"""What a check says: frozen models that become JSON, with their published schema.

Order: the facts, the findings, Check, its schema. docs/check.schema.json is made from here.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT: Literal["crosslinknet/check/1"] = "crosslinknet/check/1"
Severity = Literal["error", "warning", "hint"]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(Part):
    low: float
    high: float


class Size(Part):
    height: int
    width: int
    slices: int = Field(description="number of slices of this size")


class Spacing(Part):
    cases: int = Field(description="number of cases that state a spacing")
    low: tuple[float, float, float] = Field(description="least dz, dy, dx in mm")
    high: tuple[float, float, float] = Field(description="largest dz, dy, dx in mm")


class Pixels(Part):
    type: str = Field(description="number type of the image, as uint8")
    channels: int = Field(description="grey that is stored as colour counts as one")
    cases: int


class Label(Part):
    value: int | str = Field(description="grey value, '#rrggbb', or the name of an outline")
    pixels: int
    cases: int = Field(description="number of cases whose mask holds it")


class Subjects(Part):
    count: int
    rule: str = Field(description="how they are told apart")


class SizeClass(Part):
    low: float = Field(description="target area over slice area, from here")
    high: float = Field(description="to here")
    slices: int


class Target(Part):
    slices: int = Field(description="slices with a target")
    empty_slices: int = Field(description="slices without")
    empty_cases: int = Field(description="cases without")
    low: float = Field(description="least share of a slice that a target covers, 0..1")
    mean: float
    high: float
    small: float = Field(description="share of slices with a target of less than 0.6 %, 0..1")
    classes: list[SizeClass] = Field(description="half decades; all of them, empty ones too")


class Place(Part):
    file: str = Field(description="below the root of the set, or the whole path")
    detail: str = Field("", description="what is there, where that differs from file to file")


class Finding(Part):
    kind: str = Field(description="short name, as geometry; docs/data.md lists them")
    severity: Severity = Field(
        description="error: training would fail, or its scores mean nothing; warning: look at it; "
        "hint: worth knowing, and no reason for exit code 1"
    )
    text: str
    places: list[Place] = Field(description="all files it is about")
    cure: str = Field(description="a command or a key of the config; empty where none helps")


class Check(Part):
    """Everything that ``xln data check`` finds."""

    format: Literal["crosslinknet/check/1"] = Field(FORMAT, serialization_alias="schema")
    root: str
    layout: str = Field(description="as in data.layout; unknown: none fits, see the findings")
    notes: list[str]
    pairs: int = Field(description="images with a mask; 0 where the cases cannot be told")
    images_without_mask: list[str]
    masks_without_image: list[str]
    unreadable: int = Field(description="cases of which a file cannot be read")
    slices: int
    subjects: Subjects
    depth: tuple[int, int] | None = Field(description="least and most slices of a case")
    sizes: list[Size] = Field(description="most frequent first")
    spacing: Spacing | None
    pixels: list[Pixels]
    intensity: Range | None
    labels: list[Label] = Field(description="by value; after data.threshold, where it is stated")
    target: Target | None = Field(description="null where no slice has a target")
    findings: list[Finding] = Field(description="errors first")

    @property
    def clean(self) -> bool:
        """No error and no warning."""
        return all(finding.severity == "hint" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return self.model_dump(mode="json", by_alias=True)


def check_schema() -> dict[str, Any]:
    """JSON Schema of the result, for other programs."""
    schema = Check.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
