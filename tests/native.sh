#!/usr/bin/env bash
# `make check-native`: the tests of speedups.c with AddressSanitizer and UBSan, 100,000 fuzzed bodies among them.
# `make fuzz`, which is `tests/native.sh fuzz`: 10 million bodies, as fast as it gets; FUZZ=N reads N times 100,000.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
library=service/codec/predict/speedups
native=$PWD/build/native
flags=(-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all)
preloaded=$(cc -print-file-name=libasan.so)
if [ "${1:-}" = fuzz ]; then
    flags=(-O3) preloaded=
fi

rm -rf "$native"
mkdir -p "$native"
cp -R service tests models pyproject.toml "$native"
cc "${flags[@]}" -std=c11 -Wall -Wextra -Werror -Wno-unused-parameter -fPIC -shared \
    "-I$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" $library.c -o "$native/$library.abi3.so"
cd "$native"
# Python's own allocator would hide where an object ends; what it never frees is no leak
FUZZ=${FUZZ:-$([ "${1:-}" = fuzz ] && echo 100 || echo 1)} PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$preloaded \
    "$python" -m pytest tests/codec/predict/test_usual.py -k "not Python"
