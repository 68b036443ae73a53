"""Write the published JSON Schema of the config, docs/config.schema.json: make docs."""

from pathlib import Path

from crosslinknet.config import json_schema
from crosslinknet.files import write_json

write_json(Path(__file__).resolve().parent.parent / "docs" / "config.schema.json", json_schema())
