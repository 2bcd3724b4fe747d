"""A scope in a query: whose memories a request is about."""

import json
from collections.abc import Mapping
from typing import Annotated

from fastapi import Query

from robotgroups.errors import InvalidScopeError
from robotgroups.limits import check_scope
from robotgroups_robot import schemas
from robotgroups_robot.routes.common import wrong_parameter

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
        raise wrong_parameter("scope", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise wrong_parameter("scope", f"is no JSON: {error}") from error
