#!/usr/bin/env bash
# The installed package, from an empty folder and from one that holds a user's own `train.py` and `probes/`.
# usage: wheel.sh BIN   (the bin folder of an environment in which the wheel is installed)
set -euo pipefail
bin=$1
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

mkdir "$here/empty" && cd "$here/empty"
"$bin/sftscope" quickstart
test -s runs/quickstart/report.html

mkdir -p "$here/own/probes" && cd "$here/own"
echo 'raise RuntimeError("the user'"'"'s probes/ was imported")' > probes/__init__.py
cat > train.py <<'PY'
from sftscope.train import TrainConfig, train
from sftscope.probes import organisms

assert TrainConfig.__module__ == "sftscope.train.config", TrainConfig
assert callable(train), train
print("the user's train.py sees sftscope.train; organisms:", organisms.names())
PY
"$bin/python" train.py
cp -r "$here/empty/runs" . && rm -r runs/quickstart/measurements/step-0002* runs/quickstart/findings.json  # two: both workers have one
"$bin/sftscope" quickstart --out runs/quickstart
test -s runs/quickstart/findings.json
