"""A scope in a query: whose memories a request is about."""

import json
from collections.abc import Mapping
from typing import Annotated

from fastapi import Query
from fastapi.exceptions import RequestValidationError

from robotgroups.errors import InvalidScopeError
from robotgroups.limits import check_scope
from robotgroups_robot import schemas

ScopeText = Annotated[
    schemas.Text | None, Query(description='a JSON object such as `{"user": "u1"}`: only what belongs to all of it')
]


def parse_scope(text: str | None) -> Mapping[str, str]:
    """The scope of a query, an empty one for None. Raises RequestValidationError, which names the parameter."""
    if text is None:
        return {}
    try:
        return check_scope(json.loads(text))
    except InvalidScopeError as error:
        raise _wrong(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _wrong(f"is no JSON: {error}") from error


def _wrong(message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", "scope"), "msg": message, "type": "value_error"}])
