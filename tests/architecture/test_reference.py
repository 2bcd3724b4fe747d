"""The reference pages are what the resource, the API and the command line are."""

import reference


def test_reference_pages_are_up_to_date() -> None:
    stale = [
        path.name
        for path, text in reference.pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `make reference` and commit what it writes"


def test_pages_name_every_field_and_route() -> None:
    resource, api = (reference.pages()[reference.DIRECTORY / name] for name in ("robotgroup.md", "http-api.md"))
    assert '| `spec.failover.lease` | string | `"3s"` |' in resource
    assert '| `spec.failover.cooldown` | string | `"30s"` |' in resource
    assert "| `status.lastFailover.durationMs` | int64 |" in resource
    assert "spec.failover.lease must be at least three times spec.failover.heartbeat" in resource
    assert "### POST /v1/memories\n" in api
    assert "| `Idempotency-Key` | header |" in api


def test_the_command_lines_page_names_every_command_and_option() -> None:
    page = reference.pages()[reference.DIRECTORY / "cli.md"]
    assert "## export\n\n    robotgroups export [OPTIONS]\n" in page
    assert "    robotgroups import [OPTIONS] FILE\n" in page
    assert "| `--group` NAME | required | The group's name. |" in page
    assert "| `--output` FILE | `-` | The file; - is standard output." in page
    assert "| `--verify`, `--no-verify` | `--verify` |" in page
    assert "    robotgroups migrate --dsn-file owner.dsn\n" in page
