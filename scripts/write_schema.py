"""Write the published JSON Schemas: docs/config.schema.json, docs/check.schema.json (make docs)."""

from pathlib import Path

from crosslinknet.config import json_schema
from crosslinknet.curation.result import check_schema
from crosslinknet.files import write_json

DOCS = Path(__file__).resolve().parent.parent / "docs"

write_json(DOCS / "config.schema.json", json_schema())
write_json(DOCS / "check.schema.json", check_schema())
