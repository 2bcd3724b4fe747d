"""The fake endpoint as a process, as a cluster's tests run it."""

import math
import subprocess
import sys
from pathlib import Path

import fake_llm
import httpx
import pytest


def test_it_runs_as_a_script_without_the_project() -> None:
    command = [sys.executable, "-I", "-S", str(Path(fake_llm.__file__)), "--key", "k", "--dimensions", "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with httpx.Client(headers={"Authorization": "Bearer k"}) as client:
                asked = {"model": "m", "input": ["a", "b"]}
                answer = client.post(f"{url}/embeddings", json=asked).json()
                assert [len(item["embedding"]) for item in answer["data"]] == [8, 8]
                root = url.removesuffix("/v1")
                client.post(f"{root}/control", json={"fault": "server_error", "times": 1})
                assert [client.post(f"{url}/embeddings", json=asked).status_code for _ in range(2)] == [500, 200]
                client.post(f"{root}/control", json={"fault": "unauthorized"})
                client.post(f"{root}/control", json={"fault": None})
                assert client.post(f"{url}/embeddings", json=asked).status_code == 200
                assert client.get(f"{root}/seen").json() == {"embeddings": 4, "texts": 8, "chats": 0}
        finally:
            process.kill()


def test_texts_with_common_words_are_near() -> None:
    query, near, far = (
        fake_llm.embedding(text, 384) for text in ("the refund policy", "our refund policies", "a cat on the sofa")
    )
    assert math.hypot(*query) == pytest.approx(1.0)
    assert math.dist(query, near) < math.dist(query, far)
    assert fake_llm.embedding("the refund policy", 384) == query
