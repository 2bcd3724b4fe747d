"""Nothing heavy is loaded before the local model is used: a robot's process stays small."""

import subprocess
import sys

PROGRAM = """
import sys
import robotgroups
from robotgroups.embedding import QueryCache, embedding_config, make_embedder
from robotgroups.extraction import extraction_config, make_extractor
make_embedder(embedding_config("local"))
QueryCache(make_embedder(embedding_config("openai", model="m", dimensions=8, base_url="http://127.0.0.1:1")))
make_extractor(extraction_config("openai", model="m", base_url="http://127.0.0.1:1", tags=True))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"numpy", "tokenizers", "threadpoolctl", "torch"}))
"""


def test_no_model_is_loaded_before_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
