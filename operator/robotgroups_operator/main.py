"""The operator's process."""

import asyncio
import sys

import kopf
from pydantic import ValidationError

from robotgroups_operator.handlers import Lifecycle, make_registry
from robotgroups_operator.logs import configure_logging
from robotgroups_operator.runtime import Operator
from robotgroups_operator.settings import OperatorSettings


async def serve(settings: OperatorSettings) -> bool:
    """Runs until a signal ends it; False when it ended by an error of its own."""
    lifecycle = Lifecycle(Operator(settings))
    await kopf.operator(
        registry=make_registry(lifecycle),
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        standalone=True,
        liveness_endpoint=f"http://{settings.bind_address}:{settings.liveness_port}/healthz",
        stop_flag=lifecycle.stop,
    )
    return not lifecycle.failed


def main() -> None:
    """Reads the settings and runs; exits 0 after SIGTERM, 1 after an error, 2 when the settings are wrong."""
    try:
        settings = OperatorSettings()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"ROBOTGROUPS_OPERATOR_{name}: {problem['msg']}\n")
        sys.exit(2)
    configure_logging(settings.log_level, settings.log_format)
    sys.exit(0 if asyncio.run(serve(settings)) else 1)
