"""A group's children: made, put back, and nobody else's touched."""

import asyncio
from typing import Any

import pytest
from operator_bench import IMAGE, Bench, eventually

from robotgroups.store import Store
from robotgroups_operator.names import Kind

SPEC = {"active": [{"name": "first"}], "passive": [{"name": "second"}], "maxTokens": 8000}


async def test_makes_the_children(bench: Bench, store: Store) -> None:
    made = await bench.apply("team", SPEC)
    await bench.until_children("team", ["first", "second"])
    status = await bench.until_phase("team", "Pending")
    assert (status["active"], status["passive"], status["maxTokens"]) == (["first"], ["second"], 8000)
    assert status["observedGeneration"] == made["metadata"]["generation"]
    for kind, name in (
        (Kind.DEPLOYMENT, "team-first"),
        (Kind.DEPLOYMENT, "team-second"),
        (Kind.SERVICE, "team"),
        (Kind.SERVICE_ACCOUNT, "team"),
        (Kind.SECRET, "team-robotgroups"),
    ):
        metadata = (await bench.get(kind, name))["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("RobotGroup", "team", made["metadata"]["uid"])
        assert metadata["labels"]["robotgroups.dev/group"] == "team"
    container = (await bench.get(Kind.DEPLOYMENT, "team-first"))["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == IMAGE


async def test_leaves_no_mark_on_the_resource(bench: Bench) -> None:
    """No finalizer may hold a namespace back; no annotation of the framework's."""
    await bench.apply("team", SPEC)
    await bench.until_phase("team", "Pending")
    metadata = (await bench.get(Kind.ROBOT_GROUP, "team"))["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


async def test_the_secrets_login_reaches_its_own_group_only(bench: Bench, store: Store) -> None:
    await bench.apply("mine", SPEC)
    await bench.apply("other", SPEC)
    for name in ("mine", "other"):
        await bench.until_children(name, ["first", "second"])
    async with await Store.open((await bench.secret("mine"))["dsn"]) as robots:
        status = await robots.status(await store.find_group(await bench.key("mine")))
        assert status.active == ("first",)
        with pytest.raises(Exception, match="may not use group"):
            await robots.status(await store.find_group(await bench.key("other")))


async def test_writes_nothing_when_nothing_changes(bench: Bench) -> None:
    await bench.apply("team", SPEC)
    await bench.until_children("team", ["first", "second"])
    await bench.until_condition("team", "Progressing", "True", "RobotsStarting")

    async def versions() -> list[str]:
        kinds = ((Kind.ROBOT_GROUP, "team"), (Kind.DEPLOYMENT, "team-first"), (Kind.SERVICE, "team"),
                 (Kind.SERVICE_ACCOUNT, "team"), (Kind.SECRET, "team-robotgroups"))  # fmt: skip
        return [(await bench.get(kind, name))["metadata"]["resourceVersion"] for kind, name in kinds]

    before = await versions()
    await asyncio.sleep(5)  # two resyncs and ten heartbeats: time in which it is to do nothing
    assert await versions() == before


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.DEPLOYMENT, "team-first"),
        (Kind.SERVICE, "team"),
        (Kind.SERVICE_ACCOUNT, "team"),
        (Kind.SECRET, "team-robotgroups"),
    ],
    ids=lambda value: value.value.kind if isinstance(value, Kind) else "",
)
async def test_puts_back_a_deleted_child(bench: Bench, kind: Kind, name: str) -> None:
    await bench.apply("team", SPEC)
    await bench.until_children("team", ["first", "second"])
    before = await bench.get(kind, name)
    await bench.api.delete(kind, bench.namespace, name, uid=before["metadata"]["uid"])

    async def back() -> bool:
        return bool((await bench.get(kind, name))["metadata"]["uid"] != before["metadata"]["uid"])

    await eventually(back)
    after = await bench.get(kind, name)
    if kind is Kind.SECRET:
        assert after["data"] == before["data"]  # running robots keep their access
    elif kind is Kind.DEPLOYMENT:
        assert after["spec"] == before["spec"]


async def test_puts_back_an_edited_child_and_leaves_additions_alone(bench: Bench) -> None:
    await bench.apply("team", SPEC)
    await bench.until_children("team", ["first", "second"])
    edit = {"metadata": {"labels": {"mine": "too"}}, "spec": {"replicas": 3}}
    await bench.api.patch(Kind.DEPLOYMENT, bench.namespace, "team-first", edit)

    async def back() -> bool:
        return bool((await bench.get(Kind.DEPLOYMENT, "team-first"))["spec"]["replicas"] == 1)

    await eventually(back)
    assert (await bench.get(Kind.DEPLOYMENT, "team-first"))["metadata"]["labels"]["mine"] == "too"


async def test_touches_no_strangers_object(bench: Bench) -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "team", "namespace": bench.namespace},
        "spec": {"ports": [{"port": 1}]},
    }
    before = await bench.api.create(Kind.SERVICE, stranger)
    await bench.apply("team", SPEC)
    condition = await bench.until_condition("team", "Ready", "False", "NameConflict")
    assert f"Service {bench.namespace}/team exists and is not this group's" in condition["message"]
    after = await bench.get(Kind.SERVICE, "team")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    await bench.api.delete(Kind.SERVICE, bench.namespace, "team", uid=before["metadata"]["uid"])
    await bench.until_condition("team", "Progressing", "True", "RobotsStarting")
    assert (await bench.get(Kind.SERVICE, "team"))["spec"]["selector"]["robotgroups.dev/serving"] == "true"


async def test_tells_what_the_api_server_refuses(bench: Bench) -> None:
    bad: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    template = {"affinity": {"nodeAffinity": bad}}
    await bench.apply("team", {"active": [{"name": "first", "template": template}, {"name": "good"}]})
    condition = await bench.until_condition("team", "Ready", "False", "InvalidTemplate")
    assert f"Deployment {bench.namespace}/team-first was refused" in condition["message"]
    await bench.until_children("team", ["good"])
    await bench.apply("team", {"active": [{"name": "first"}, {"name": "good"}]})
    await bench.until_children("team", ["first", "good"])


async def test_scales_generated_robots(bench: Bench) -> None:
    await bench.apply("team", {"active": [{"name": "first"}]})
    await bench.until_children("team", ["first"])
    where = ("-n", bench.namespace)
    bench.server.kubectl("scale", "rg/team", "--replicas=2", *where)
    await bench.until_children("team", ["first", "worker-0", "worker-1"])

    async def counted() -> bool:
        return bool((await bench.status("team")).get("replicas") == 2)

    await eventually(counted)
    scale = bench.server.kubectl(
        "get", "--raw", f"/apis/robotgroups.dev/v1alpha1/namespaces/{bench.namespace}/robotgroups/team/scale"
    )
    assert '"selector":"robotgroups.dev/group=team,robotgroups.dev/generated=true"' in scale.stdout
    bench.server.kubectl("scale", "rg/team", "--replicas=1", *where)
    await bench.until_children("team", ["first", "worker-0"])
