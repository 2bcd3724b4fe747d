"""Writes docs/reference/*.md from what the code serves: the resource from crds/, the HTTP API from the robot's OpenAPI,
the command line from its own help.

`python hack/reference.py` writes the pages; a test fails while they differ from what `pages()` renders.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from robotgroups_cli.app import cli
from robotgroups_robot.app import create_api
from robotgroups_robot.runtime import Runtime
from robotgroups_robot.settings import RobotSettings

ROOT = Path(__file__).resolve().parents[1]
DIRECTORY = ROOT / "docs" / "reference"
CRD = ROOT / "crds" / "robotgroups.yaml"
Json = dict[str, Any]

NOTE = "<!-- Written by hack/reference.py from {}: edit that, then run `make reference`. -->\n"
LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} entries",
    "maxProperties": "at most {} entries",
}
NO_LIMIT = (0, 1)  # "at least 0" of a count and "at least 1 character" of a name go without saying


def pages() -> dict[Path, str]:
    """The text of every page, by its path."""
    crd: Json = yaml.safe_load(CRD.read_text())
    return {
        DIRECTORY / "robotgroup.md": resource_page(crd),
        DIRECTORY / "http-api.md": api_page(create_api(_runtime()).openapi()),
        DIRECTORY / "cli.md": cli_page(cli),
    }


def _runtime() -> Runtime:
    """A runtime that is never started: routes are read off it."""
    known = {"pod_ip": "127.0.0.1", "dsn": "postgresql://", "token": "-"}
    known |= dict.fromkeys(("cluster", "namespace_uid", "group", "robot"), "-")
    return Runtime(RobotSettings.model_validate(known))


# -- the resource ------------------------------------------------------------------------------------------------------


def resource_page(crd: Json) -> str:
    """The page of the RobotGroup: its fields, what is refused, its columns."""
    spec, (version,) = crd["spec"], crd["spec"]["versions"]
    schema: Json = version["schema"]["openAPIV3Schema"]
    properties: Json = schema["properties"]
    template: Json = properties["spec"]["properties"]["template"]
    names = ", ".join(f"`{name}`" for name in (spec["names"]["plural"], *spec["names"]["shortNames"]))
    lines = [
        NOTE.format("crds/robotgroups.yaml"),
        f"# {spec['names']['kind']}\n",
        f"`apiVersion: {spec['group']}/{version['name']}`, `kind: {spec['names']['kind']}`; for kubectl {names}.\n",
        f"{schema['description']}\n",
        "## spec\n",
        *_table(_fields("spec", properties["spec"], template)),
        "## template\n",
        f"`spec.template` and the `template` of each robot. {template['description']}\n",
        *_table(_fields("template", template, None)),
        "## status\n",
        f"{properties['status']['description']}\n",
        *_table(_fields("status", properties["status"], None)),
        "## What is refused at `kubectl apply`\n",
        *(f"- {message}" for message in dict.fromkeys(_messages(schema))),
        "\nMisspelt fields are refused too (kubectl's strict validation), and values out of the ranges above.\n",
        "## Columns of `kubectl get`\n",
        "| column | shown | what |",
        "|---|---|---|",
    ]
    for column in version["additionalPrinterColumns"]:
        wide = "with `-o wide`" if column.get("priority") else "always"
        lines.append(f"| {column['name'].upper()} | {wide} | {column['description']} |")
    return "\n".join(lines) + "\n"


def _fields(path: str, schema: Json, template: Json | None) -> Iterator[list[str]]:
    """Rows of an object's fields, each before the fields inside it."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        if field == template and name == "template":
            yield [f"`{here}`", "object", "", "See [template](#template)."]
            continue
        inner, suffix = _inside(field)
        yield [f"`{here}`", _type(field), _default(field, name in required), _what(field)]
        yield from _fields(here + suffix, inner, template)


def _inside(field: Json) -> tuple[Json, str]:
    if field.get("type") == "array":
        return field["items"], "[]"
    values = field.get("additionalProperties")
    return (values, ".*") if isinstance(values, dict) else (field, "")


def _type(field: Json) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}s"
    values = field.get("additionalProperties")
    if isinstance(values, dict):
        return f"map of {_type(values)}s"
    return str(field.get("format") or field.get("type", ""))


def _default(field: Json, required: bool) -> str:
    if required:
        return "required"
    default = field.get("default")
    return "" if default in (None, {}) else f"`{json.dumps(default)}`"


def _what(field: Json) -> str:
    texts = [" ".join(field.get("description", "").split())]
    if values := field.get("enum"):
        texts.append("One of " + ", ".join(f"`{value}`" for value in values) + ".")
    limits = [text.format(field[key]) for key, text in LIMITS.items() if field.get(key, 0) not in NO_LIMIT]
    if limits:
        texts.append((", ".join(limits) + ".").capitalize())
    return " ".join(text for text in texts if text)


def _messages(schema: Any) -> Iterator[str]:
    """The messages of every CEL rule, in the order of the fields."""
    if isinstance(schema, dict):
        for rule in schema.get("x-kubernetes-validations", []):
            yield " ".join(rule["message"].split())
        for key, value in schema.items():
            if key != "x-kubernetes-validations":
                yield from _messages(value)


# -- the HTTP API ------------------------------------------------------------------------------------------------------


def api_page(document: Json) -> str:
    """The page of the HTTP API: its operations by tag, then the bodies."""
    lines = [
        NOTE.format("the robot's OpenAPI"),
        "# HTTP API of a robot\n",
        f"{document['info']['description']} Every robot serves it on port 8080, the group's Service on port 80; "
        "`/openapi.json` is this page for programs. `Authorization: Bearer TOKEN` with the key `token` of the Secret "
        "GROUP-robotgroups, or one limited to a scope (docs/scopes.md), is needed everywhere but under the tag probes. "
        "Errors are problem details (RFC 9457).\n",
    ]
    operations = [
        (operation["tags"][0], method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for tag in dict.fromkeys(tag for tag, *_ in operations):
        lines.append(f"## {tag.capitalize()}\n")
        for found, method, path, operation in operations:
            if found == tag:
                lines += _operation(method, path, operation)
    lines.append("## Bodies\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name}\n", f"{schema.get('description', '')}\n", *_table(_members(schema))]
    return "\n".join(lines)


def _operation(method: str, path: str, operation: Json) -> list[str]:
    lines = [f"### {method} {path}\n", f"{' '.join(operation['description'].split())}\n"]
    rows = [
        [f"`{p['name']}`", p["in"], _shape(p["schema"]), _default(p["schema"], p["required"]), p.get("description", "")]
        for p in operation.get("parameters", [])
    ]
    if rows:
        lines += ["| parameter | in | type | default | what |", "|---|---|---|---|---|", *map(_row, rows), ""]
    if body := operation.get("requestBody"):
        lines.append(f"Body: {_shape(next(iter(body['content'].values()))['schema'])}\n")
    lines += ["| status | answer |", "|---|---|"]
    lines += [_row([status, _answer(response)]) for status, response in sorted(operation["responses"].items())]
    return [*lines, ""]


def _answer(response: Json) -> str:
    """A success by its body, a problem by its description."""
    shapes = [_shape(c["schema"]) for kind, c in response.get("content", {}).items() if kind == "application/json"]
    return shapes[0] if shapes and shapes[0] else str(response["description"])


def _members(schema: Json) -> Iterator[list[str]]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        yield [f"`{name}`", _shape(field), _default(field, name in required), _what(field)]


def _shape(schema: Json) -> str:
    """The type of a value in OpenAPI, with a link to its body."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf"):
        return " or ".join(_shape(option) for option in options)
    if schema.get("type") == "array":
        return f"list of {_shape(schema['items'])}"
    return str(schema.get("format") or schema.get("type", ""))


# -- the command line --------------------------------------------------------------------------------------------------


def cli_page(group: click.Group) -> str:
    """The page of the command: what it does, then each of its parts."""
    lines = [
        NOTE.format("the command's help"),
        "# The command robotgroups\n",
        "`pip install 'robotgroups[cli]'`; `robotgroups COMMAND --help` says the same as this page.\n",
        *_paragraphs(group.help),
    ]
    for name, command in sorted(group.commands.items()):
        context = click.Context(command, info_name=f"robotgroups {name}")
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        lines += [f"## {name}\n", f"    {usage}\n", *_paragraphs(command.help)]
        options = [option for option in command.params if isinstance(option, click.Option)]
        lines += ["| option | default | what |", "|---|---|---|", *(_row(_option(o, context)) for o in options), ""]
        # "\\b" keeps click from folding them
        examples = (command.epilog or "").removeprefix("\b\nExamples:\n")
        lines += ["Examples:\n", *(f"  {line}" for line in examples.splitlines()), ""]
    return "\n".join(lines)


def _paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in (text or "").strip().split("\n\n"):
        yield f"{' '.join(paragraph.split())}\n"


def _option(option: click.Option, context: click.Context) -> list[str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {option.make_metavar(context)}"
    default = "required" if option.required else f"`{option.default}`" if option.show_default else ""
    if option.is_flag and option.show_default:
        default = f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    return [names + value, default, " ".join((option.help or "").split())]


# -- all ---------------------------------------------------------------------------------------------------------------


def _table(rows: Iterator[list[str]]) -> list[str]:
    found = [_row(row) for row in rows]
    return ["| field | type | default | what |", "|---|---|---|---|", *found, ""] if found else []


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Writes every page."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
