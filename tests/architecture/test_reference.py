"""The reference pages are what the resource and the API are."""

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
    assert "| `status.lastFailover.durationMs` | int64 |" in resource
    assert "spec.failover.lease must be at least three times spec.failover.heartbeat" in resource
    assert "### POST /v1/memories\n" in api
    assert "| `Idempotency-Key` | header |" in api
