#!/usr/bin/env bash
# `make test-wheel`: tests against what the wheel installs, in a folder with no service/ beside them.
# `make test-compiled`, which is `tests/wheel.sh compiled`: the same of the wheel that is compiled.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
form=${1:-source}
wheel=$PWD/build/wheel-$form
installed=$wheel/venv/bin/python
packages() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

rm -rf "$wheel"
test "$form" = source || export HATCH_BUILD_HOOK_ENABLE_CUSTOM=1
"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$wheel" .
# The packages of .venv are borrowed through a .pth file. Python reads none in a borrowed folder: so the one that leads
# from .venv to this checkout leads nowhere.
"$python" -m venv --without-pip "$wheel/venv"
packages "$python" > "$(packages "$installed")/borrowed.pth"
"$python" -m pip --python "$installed" install --quiet --no-deps --no-index "$wheel"/*.whl

# not every file is read in a test
diff --recursive --exclude=__pycache__ --exclude='*.so' service "$(packages "$installed")/service"

cp -R models pyproject.toml tests "$wheel"
cd "$wheel"
"$installed" -c 'import service; assert "site-packages" in service.__file__, service.__file__'
venv/bin/calibrant --version
if [ "$form" = source ]; then
    # the files are the same: what reads others than modules, and what the commands import when they are needed
    "$installed" -m pytest tests/api/protocol tests/api/test_{console,docs,metrics,openapi,operations}.py \
        tests/commands/test_{export,fit,inspect,score}.py tests/rpc/test_{infer,life}.py tests/test_cli.py
else
    # which way a body takes is seen from outside as well as from inside; the cases lie beside the checkout
    test ! -d ../../../shared || ln -sfn ../../shared ../shared
    "$installed" -m tests.compiled
    "$installed" -m pytest tests/codec tests/rpc tests/telemetry/test_{counts,observer,tally}.py tests/journal/test_observer.py \
        tests/engine/test_{answers,batcher,batcher_faults,head,queue,rows}.py \
        tests/transports/test_{exchange,fast,fast_known,gate,infer,known}.py \
        tests/test_{bitwise,conformance,fast_ways,repository}.py
fi
