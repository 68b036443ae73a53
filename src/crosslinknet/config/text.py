"""Configs as text: YAML in and out, ``-s`` settings, readable errors, the JSON Schema."""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from crosslinknet.config.recipes import ATTENTIVE, recipe_of
from crosslinknet.config.whole import Config
from crosslinknet.errors import UsageError, suggest

# Keys that hold a path outside the data set.
FILES = (
    ("data", "root"),
    ("split", "file"),
    ("model", "weights"),
    ("model", "first"),
    ("semi", "unlabelled"),
)


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a YAML config and apply ``key=value`` overrides.

    Relative paths in the file start at the file's folder, those of overrides (they are typed in a
    shell) and ``output.dir`` at the working folder.

    Args:
        path: YAML file.
        overrides: texts like ``train.epochs=40``; values are read as YAML.

    Raises:
        UsageError: missing file, no YAML, unknown key (the nearest is suggested), wrong type.
    """
    try:
        content = _read_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read as a config ({error}). Check the path, or write a first config "
            "with: xln init DATA -o exp.yaml"
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {_one_line(error)}") from error
    if not isinstance(content, dict):
        held = "nothing" if content is None else type(content).__name__
        raise UsageError(
            f"{path} holds {held}, expected sections such as data: and train:. "
            "Write a first one with: xln init DATA -o exp.yaml"
        )
    folder = Path(path).parent
    for section, key in FILES:
        values = content.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str):
            content[section] = values | {key: str((folder / values[key]).resolve())}
    return parse_config(override(content, overrides), source=str(path))


def parse_config(content: dict[str, Any], source: str = "config") -> Config:
    """Check a plain dictionary and make it a Config; errors as in ``load_config``.

    Relative paths start at the working folder.
    """
    try:
        config = Config.model_validate(
            {key: {} if value is None else value for key, value in content.items()}
        )
    except ValidationError as error:
        raise UsageError(_explain(error, source)) from error
    for section, key in FILES:
        values = getattr(config, section)
        path: Path | None = getattr(values, key)
        if path is not None:
            absolute = values.model_copy(update={key: path.resolve()})
            config = config.model_copy(update={section: absolute})
    return config


def data_at(place: Path) -> dict[str, Any]:
    """The ``data`` section that says where a set lies: in a folder, or in a CSV manifest."""
    if place.is_file():
        return {"root": str(place.parent.resolve()), "images": place.name, "layout": "csv"}
    return {"root": str(place.resolve())}


def override(content: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Set dotted keys in a nested dictionary; the input is not changed.

    ``train.recipe=NAME`` also takes away what the dictionary says about the keys that recipes
    set, so that the recipe decides; ``model.name=NAME`` takes away options and weights of another
    network, and loss weights where only one of the two has attention heads. Other settings win
    over both as ever.

    Raises:
        UsageError: not of the form key=value, a value that is no YAML, a key below a value.

    >>> override({"train": {"epochs": 5}}, ("train.epochs=9", "train.lr=1e-4"))
    {'train': {'epochs': 9, 'lr': 0.0001}}
    """
    result = _copy(content)
    _forget_recipe(result, settings)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"-s {setting!r} is not of the form key=value, as -s train.epochs=40.")
        *parents, last = key.strip().split(".")
        place = result
        for parent in parents:
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
            if not isinstance(place, dict):
                raise UsageError(f"-s {setting!r}: {parent!r} is a value, it has no keys below it.")
        try:
            place[last] = _number(_read_yaml(text))
        except yaml.YAMLError as error:
            raise UsageError(
                f"-s {setting!r}: the value is not valid YAML: {_one_line(error)}"
            ) from error
    return result


def to_dict(config: Config) -> dict[str, Any]:
    """The resolved config as plain JSON-able values."""
    return config.model_dump(mode="json")


def to_yaml(config: Config, comments: bool = True) -> str:
    """The resolved config as YAML; every key is followed by what it means."""
    lines = []
    for name, values in to_dict(config).items():
        section = type(getattr(config, name))
        if comments:
            lines += ["", f"# {(section.__doc__ or '').strip()}"]
        lines.append(f"{name}:")
        for key, value in values.items():
            text = yaml.safe_dump(
                value,
                default_flow_style=True,
                width=float("inf"),
                allow_unicode=True,
                sort_keys=False,
            )
            entry = f"  {key}: {text.removesuffix(chr(10)).removesuffix('...').strip()}"
            about = section.model_fields[key].description
            lines.append(f"{entry}  # {about}" if comments else entry)
    return "\n".join(lines).lstrip("\n") + "\n"


def json_schema() -> dict[str, Any]:
    """JSON Schema of the config, for editors and other programs."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is written twice is an error; it would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for i, key in enumerate(keys) if key in keys[:i]]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]!r} is written twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _read_yaml(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


PLAINLY = {  # pydantic's error types whose own words only programmers understand
    "tuple_type": "expected a list, as in [256, 256]",
    "list_type": "expected a list, as in [1]",
    "dict_type": "expected keys with values, as in {name: value}",
    "model_type": "expected keys with values, as in {name: value}",
}


def _explain(error: ValidationError, source: str) -> str:
    """Turn pydantic's list into one readable paragraph."""
    parts: dict[str, list[str]] = {}  # by place: what is wrong there
    for item in error.errors():
        steps = [str(step) for step in item["loc"]]
        where = ".".join(s for s in steps if s not in ("int", "str", "[key]") and "[" not in s)
        message = PLAINLY.get(item["type"], item["msg"].removeprefix("Value error, "))
        if item["type"] == "extra_forbidden":
            where = f"unknown key '{where}'{_nearest(steps)}"
            message = ""
        elif item["type"] == "missing":
            message = "is missing"
        elif item["type"] != "value_error":
            message += f" (got {item['input']!r})"
        parts.setdefault(where, []).append(message)
    return f"{source}: " + "; ".join(
        ": ".join(text for text in (where, " or ".join(filter(None, messages))) if text)
        for where, messages in parts.items()
    )


def _nearest(steps: list[str]) -> str:
    """What an unknown key was probably meant to be: in its own section, or in another one."""
    sections = {name: list(_section(name).model_fields) for name in Config.model_fields}
    elsewhere = [f"{name}.{steps[-1]}" for name, keys in sections.items() if steps[-1] in keys]
    if elsewhere:
        return f"; did you mean '{elsewhere[0]}'?"
    known = [f"{steps[0]}.{key}" for key in sections[steps[0]]] if len(steps) > 1 else sections
    return suggest(".".join(steps), known)


def _section(name: str) -> type[BaseModel]:
    section: type[BaseModel] = Config.model_fields[name].annotation  # type: ignore[assignment]
    return section


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as text; people mean a number."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    return value


def _forget_recipe(content: dict[str, Any], settings: tuple[str, ...]) -> None:
    """Take away what another recipe, or the recipe of another network, had set."""
    set_here = {key.strip(): text.strip() for key, _, text in (s.partition("=") for s in settings)}
    model, train = content.get("model"), content.get("train")
    network = model.get("name", "crosslink-net") if isinstance(model, dict) else "crosslink-net"
    recipe = train.get("recipe", "practical") if isinstance(train, dict) else "practical"
    other, another = set_here.get("model.name", network), set_here.get("train.recipe", recipe)
    if "train.recipe" in set_here or (other != network and recipe == "published"):
        for values in (recipe_of(network, recipe), recipe_of(other, another)):
            for section, own in values.items():
                _forget(content, section, [key for key in own if key != "options"])
            for option in values.get("model", {}).get("options", {}):
                if isinstance(model, dict) and isinstance(model.get("options"), dict):
                    model["options"].pop(option, None)
    if other != network:
        _forget(content, "model", ("options", "weights"))
        if (network in ATTENTIVE) != (other in ATTENTIVE):
            _forget(content, "loss", ("bce", "dice", "attention"))


def _forget(content: dict[str, Any], section: str, keys: Sequence[str]) -> None:
    """Take keys out of a section, which stays as it is otherwise."""
    values = content.get(section)
    if isinstance(values, dict):
        content[section] = {key: value for key, value in values.items() if key not in keys}


def _copy(content: dict[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, dict) else v for k, v in content.items()}
