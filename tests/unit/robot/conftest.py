import pytest

from robotgroups_robot.settings import RobotSettings

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings() -> RobotSettings:
    return RobotSettings.model_validate(
        {
            "cluster": "c1",
            "namespace_uid": "n1",
            "group": "support",
            "robot": "support-primary",
            "pod_ip": "127.0.0.1",
            "dsn": "postgresql://rg_1:s3cret@127.0.0.1:1/robotgroups",
            "token": TOKEN,
        }
    )
