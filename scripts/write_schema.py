"""Write the published JSON Schemas: of configs, checks and comparisons, in docs/ (make docs)."""

from pathlib import Path

from crosslinknet.compare.result import comparison_schema
from crosslinknet.config import json_schema
from crosslinknet.curation.result import check_schema
from crosslinknet.files import write_json

DOCS = Path(__file__).resolve().parent.parent / "docs"

write_json(DOCS / "config.schema.json", json_schema())
write_json(DOCS / "check.schema.json", check_schema())
write_json(DOCS / "comparison.schema.json", comparison_schema())
