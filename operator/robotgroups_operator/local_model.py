"""Whether the robots' images have the local embedding model, as far as the operator can tell. Pure."""

from robotgroups.embedding import EmbeddingProvider
from robotgroups_operator.manifests.identity import Group
from robotgroups_operator.observation import Problem

MODEL_MISSING = "LocalModelMissing"


def local_model_problem(group: Group) -> Problem | None:
    """What is wrong when a group embeds by the local model and robots get an image without it; None when nothing is.

    Of an image that a template names nothing is known: a robot that lacks the model says so itself.
    """
    spec = group.spec
    if spec.memory.embedding.provider is not EmbeddingProvider.LOCAL or group.defaults.local_model_image:
        return None
    names = [robot.name for robot in spec.robots if not spec.template.overridden_by(robot.template).image]
    if not names:
        return None
    return Problem(
        MODEL_MISSING,
        f"spec.memory.embedding.provider is local, and the image of {', '.join(names)} has no model: install the "
        "operator with image.robotLocal of its chart, or name an image that has the model in spec.template.image",
    )
