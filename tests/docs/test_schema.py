"""docs/config.schema.json, the JSON Schema that other programs read."""

import json
from pathlib import Path

import jsonschema

from crosslinknet.config import json_schema, parse_config, to_dict

PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "config.schema.json").read_text("utf-8")
)


def test_the_published_schema_is_the_one_of_the_code():
    assert json_schema() == PUBLISHED, "config.py changed: run make docs"


def test_a_resolved_config_fits_the_published_schema():
    jsonschema.validate(to_dict(parse_config({"data": {"root": "."}})), PUBLISHED)


def test_the_published_schema_refuses_an_unknown_key():
    errors = jsonschema.Draft202012Validator(PUBLISHED).iter_errors(
        {"data": {"root": ".", "labelmap": {}}}
    )
    assert ["labelmap" in error.message for error in errors] == [True]
