from dataclasses import replace

import pytest

from clusters.choice import Choice, Kind, Surroundings, decide

NOTHING = Surroundings(
    cluster="", kubeconfig="", local_kubeconfig="/cache/local", kind_kubeconfig="/cache/kind", docker=False
)


def test_the_local_cluster_is_what_is_left() -> None:
    assert decide(NOTHING) == Choice(
        Kind.LOCAL, "no Docker runs here, and neither CLUSTER nor KUBECONFIG names a cluster"
    )


def test_docker_makes_it_kind() -> None:
    assert decide(replace(NOTHING, docker=True)) == Choice(Kind.KIND, "Docker runs here")


@pytest.mark.parametrize(
    ("kubeconfig", "kind"),
    [("/cache/local", Kind.LOCAL), ("/cache/kind", Kind.KIND), ("/home/me/.kube/config", Kind.EXISTING)],
)
def test_kubeconfig_is_stronger_than_docker(kubeconfig: str, kind: Kind) -> None:
    assert decide(replace(NOTHING, kubeconfig=kubeconfig, docker=True)).kind is kind


@pytest.mark.parametrize("kind", list(Kind))
def test_cluster_is_stronger_than_all(kind: Kind) -> None:
    seen = replace(NOTHING, cluster=kind.value, kubeconfig="/home/me/.kube/config", docker=True)
    assert decide(seen) == Choice(kind, f"CLUSTER={kind.value}")


def test_a_wrong_cluster_is_named_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match=r"^CLUSTER='minikube' is none of existing, kind, local$"):
        decide(replace(NOTHING, cluster="minikube"))
