"""Every bad manifest is refused at `kubectl apply`, with the message that its first line names."""

from pathlib import Path

import pytest
from on_cluster import Stage

from localcluster.console import ClusterError

MANIFESTS = sorted((Path(__file__).parents[1] / "fixtures" / "bad-manifests").glob("*.yaml"))
HEADER = "# refused: "


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_refused_with_its_message(stage: Stage, shared_namespace: str, manifest: Path) -> None:
    header = manifest.read_text().splitlines()[0]
    assert header.startswith(HEADER)
    with pytest.raises(ClusterError) as refusal:
        stage.kube.kubectl("-n", shared_namespace, "apply", "--filename", str(manifest))
    assert header.removeprefix(HEADER) in str(refusal.value)
