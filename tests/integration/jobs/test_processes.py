"""Real robots and the SDK embed what is remembered, and recall by it."""

import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_llm import FakeLlm, Fault
from jobs_group import API_KEY, DIMENSIONS, KEY, Group
from robot_process import RobotProcess, robots, until

from robotgroups import RobotGroup, embedding_config, extraction_config
from robotgroups.errors import MissingFeatureError
from robotgroups.logins import robot_dsn


@pytest.fixture
async def processes(group: Group, tmp_path: Path) -> AsyncIterator[dict[str, RobotProcess]]:
    """The group's robots as processes under its own login, with the key in a file."""
    login = await group.store.ensure_login(group.id, "secret")
    async with robots(["a", "b"], KEY, robot_dsn(group.dsn, login, "secret"), "token", tmp_path) as made:
        for robot in made.values():
            robot.settings["ROBOTGROUPS_EMBEDDING_API_KEY_FILE"] = str(group.key_file)
            robot.settings["ROBOTGROUPS_EXTRACTION_API_KEY"] = API_KEY
        yield made


async def started(robot: RobotProcess) -> RobotProcess:
    robot.start()
    await robot.ready(60)
    return robot


async def remembered(robot: RobotProcess, content: str) -> int:
    answer = await robot.client.post("/v1/memories", json={"content": content})
    assert answer.status_code == 201
    return int(answer.json()["id"])


async def test_what_a_killed_process_was_at_is_done_by_the_other(
    group: Group, processes: dict[str, RobotProcess], fake: FakeLlm
) -> None:
    await group.declare(embedding=group.embedding())
    a, b = await started(processes["a"]), processes["b"]
    fake.fail(Fault.HANG)
    ids = [await remembered(a, content) for content in ("water boils", "iron rusts")]

    async def asked() -> bool:
        return bool(fake.asked())

    await until(asked, "the robot is at it")
    a.signal(signal.SIGKILL)
    await a.ended()
    fake.recover()
    await started(b)
    await group.time_runs_out()
    await group.all_embedded()
    assert set(await group.vectors()) == set(ids)
    ((rows,),) = await group.sql("SELECT count(*) FROM robotgroups.embeddings")
    assert rows == 2


async def test_recall_by_vector_over_http(group: Group, processes: dict[str, RobotProcess], fake: FakeLlm) -> None:
    await group.declare(embedding=group.embedding(), extraction=group.extraction(propositions=False))
    a = await started(processes["a"])
    await remembered(a, "Water boils at a hundred degrees.")
    await remembered(a, "Iron rusts in rain.")
    await group.all_embedded()
    question = {"query": "boiling water", "strategy": "vector", "limit": 1}
    answer = await a.client.post("/v1/recall", json=question)
    assert answer.status_code == 200, answer.text
    assert [m["content"] for m in answer.json()["memories"]] == ["Water boils at a hundred degrees."]

    async def tags() -> set[str]:
        rows = await group.sql("SELECT DISTINCT unnest(tags) FROM robotgroups.memories")
        return {tag for (tag,) in rows}

    async def tagged() -> bool:
        return await tags() >= {"topic:water", "topic:rusts"}

    await until(tagged, "everything is tagged")
    status = (await a.client.get("/v1/status")).json()
    assert (status["unembedded"], status["failing_jobs"], status["job_error"]) == (0, 0, None)
    assert API_KEY not in a.log.read_text()


def until_now(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_the_sdk_embeds_extracts_and_recalls(dsn: str, fake: FakeLlm, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = embedding_config("openai", model="fake", dimensions=DIMENSIONS, base_url=fake.base_url)
    extraction = extraction_config("openai", model="fake", base_url=fake.base_url, tags=True)
    with RobotGroup(
        "library",
        active=["primary"],
        passive=["standby"],
        dsn=dsn,
        embedding=embedding,
        extraction=extraction,
        embedding_api_key=API_KEY,
        extraction_api_key=API_KEY,
    ) as group:
        water = group.remember("Water boils at a hundred degrees.")
        group.remember("Iron rusts in rain.")
        until_now(lambda: group.status()["unembedded"] == 0, "all is embedded")
        (found,) = group.recall("boiling water", strategy="vector", limit=1)
        assert found.id == water
        until_now(lambda: "topic:water" in group.recall("boils")[0].tags, "it is tagged")
    # who opens it next finds the settings, and takes the key from the environment
    monkeypatch.setenv("ROBOTGROUPS_EMBEDDING_API_KEY", API_KEY)
    with RobotGroup("library", dsn=dsn) as again:
        (found,) = again.recall("boiling water", strategy="vector", limit=1)
        assert found.id == water
    with RobotGroup("library", dsn=dsn, embedding=embedding_config()) as without:  # noqa: SIM117
        with pytest.raises(MissingFeatureError, match="no embedding provider"):
            without.recall("boiling water", strategy="vector")
