"""The hierarchy of errors: its picture in the docstring is its truth."""

import inspect
import re

import pytest

from robotgroups import errors


def drawn() -> dict[str, set[str]]:
    """Class -> its bases, as the docstring draws them."""
    above: list[str] = []
    found: dict[str, set[str]] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│ ├└─]*)(\w+Error|RobotGroupsError)(?: \(also (\w+)\))?", line)
        if match is None:
            continue
        branches, name, also = match.groups()
        depth = len(branches) // 4
        del above[depth:]
        found[name] = {above[-1]} if above else {"Exception"}
        if also:
            found[name].add(also)
        above.append(name)
    return found


def test_the_picture_shows_every_class_under_its_base() -> None:
    classes = {n: c for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)}
    assert drawn() == {name: {base.__name__ for base in c.__bases__} for name, c in classes.items()}


def test_every_error_has_one_root() -> None:
    for name in drawn():
        assert issubclass(getattr(errors, name), errors.RobotGroupsError)


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (errors.NotActiveError("no", ("a", "b")), {"active": ("a", "b")}),
        (errors.HostedElsewhereError("no", "http://a"), {"endpoint": "http://a"}),
        (errors.ServiceError("no", 418, {"title": "teapot"}), {"status": 418, "problem": {"title": "teapot"}}),
        (errors.ServiceError("no", 500), {"problem": {}}),
        (
            errors.EmbeddingUnavailableError("no", errors.ModelFailure.RATE_LIMITED, 2.5),
            {"reason": errors.ModelFailure.RATE_LIMITED, "retry_after": 2.5},
        ),
        (errors.ExtractionConfigError("no", errors.ModelFailure.UNAUTHORIZED), {"retry_after": None}),
    ],
)
def test_what_an_error_carries(error: Exception, attributes: dict[str, object]) -> None:
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert str(error) == "no"
