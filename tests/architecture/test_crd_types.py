"""The operator's spec and status types are the resource's schema, field by field."""

import dataclasses
import types
import typing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from robotgroups_operator.spec import GroupSpec, camel, parse_spec
from robotgroups_operator.status_types import Status

SOURCE = Path(__file__).parents[2] / "crds" / "robotgroups.yaml"
SCALARS = {str: "string", int: "integer", bool: "boolean", float: "number", timedelta: "string"}
Schema = dict[str, Any]


def schema_of(part: str) -> Schema:
    [version] = yaml.safe_load(SOURCE.read_text())["spec"]["versions"]
    found = version["schema"]["openAPIV3Schema"]["properties"][part]
    assert isinstance(found, dict)
    return found


def plain(annotation: Any) -> Any:
    """The type without None."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        [annotation] = [part for part in typing.get_args(annotation) if part is not type(None)]
    return annotation


def differences(kind: Any, schema: Schema, path: str) -> list[str]:
    """Where a type and a schema say different things; JSON that passes through untouched is an object to both."""
    kind = plain(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        mine = {camel(f.name.rstrip("_")): hints[f.name] for f in dataclasses.fields(kind)}
        theirs = schema.get("properties", {})
        odd = [f"{path}.{name}" for name in mine.keys() ^ theirs.keys()]
        return odd + [
            d for name in mine.keys() & theirs.keys() for d in differences(mine[name], theirs[name], f"{path}.{name}")
        ]
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return [f"{path}: no array"] if schema["type"] != "array" else differences(item, schema["items"], f"{path}[]")
    if kind in SCALARS or (isinstance(kind, type) and issubclass(kind, str)):
        return [] if schema["type"] == SCALARS.get(kind, "string") else [f"{path}: {schema['type']}, not {kind}"]
    return [] if schema["type"] == "object" else [f"{path}: {schema['type']}, not an object"]


@pytest.mark.parametrize(("part", "kind"), [("spec", GroupSpec), ("status", Status)])
def test_types_are_the_schema(part: str, kind: type) -> None:
    assert differences(kind, schema_of(part), part) == []


def test_finds_a_difference() -> None:
    schema = schema_of("spec")
    del schema["properties"]["replicas"]
    schema["properties"]["maxTokens"]["type"] = "string"
    schema["properties"]["memory"]["properties"]["more"] = {"type": "string"}
    assert sorted(differences(GroupSpec, schema, "spec")) == [
        "spec.maxTokens: string, not <class 'int'>",
        "spec.memory.more",
        "spec.replicas",
    ]


def defaults(schema: Schema) -> Any:
    if "properties" in schema:
        return {
            name: defaults(part)
            for name, part in schema["properties"].items()
            if "default" in part or "properties" in part
        }
    return schema.get("default")


def test_defaults_are_the_schemas() -> None:
    filled = defaults(schema_of("spec"))
    filled.pop("template")
    assert parse_spec(filled) == GroupSpec()
