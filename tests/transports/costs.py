"""What reading JSON takes, of each kind that takes much: `python -m tests.transports.costs PATH` prints it as JSON.

The peak of the resident memory while a body of 3 MB is decoded, over what was resident before, in bytes. Each has
a process of its own, for what others left free would hide what is taken.
"""

import json
import multiprocessing
import sys
from contextlib import suppress
from pathlib import Path

from service.codec.depth import BOUND
from service.codec.evaluate.decode import decode_evaluate
from service.codec.infer.decode import decode_infer
from service.codec.predict.decode import decode_predict
from service.errors import RequestError
from service.transports.budget import JSON_COST, json_cost
from tests.codec.served import ANY

N_BYTES = 3 * 2**20  # more than is read by the parser whose memory is kept
KINDS = {
    "lists in lists": b"[" * 120 + b"]" * 120,
    "objects in objects": b'{"a":' * 60 + b"1" + b"}" * 60,
    "four levels": b"[[[[]]]]",
    "empty lists": b"[]",
    "empty objects": b"{}",
    "objects": b'{"a":{}}',
    "objects of two": b'{"a":1,"b":2}',
    "rows of one": b"[1.5]",
    "rows of two": b"[1.5,2.5]",
    "rows of rows of one": b"[[1.5]]",
    "rows of ten": b"[" + b",".join([b"1.5"] * 10) + b"]",
    "digits": b"1",
    "numbers": b"1.5",
    "long numbers": b"-1.2345678901234567",
    "empty strings": b'""',
    "short strings": b'"ab"',
    "strings": b'"%s"' % (b"a" * 30),
    "long strings": b'"%s"' % (b"a" * 1000),
    "escapes": rb'"\u00e9ab"',
    "emoji": '"\U0001f600"'.encode(),
    "strings with an emoji": '"\U0001f600%s"'.format().encode() % (b"a" * 1000),
}
DECODES = {"predict": decode_predict, "evaluate": decode_evaluate, "infer": decode_infer}
AROUND = {
    "predict": b'{"logits":%s}',
    "evaluate": b'{"labels":[],"logits":%s}',
    "infer": b'{"inputs":[{"name":"logits","datatype":"FP32","shape":[1,2],"data":%s}]}',
}


def bodies(around: bytes) -> dict[str, bytes]:
    """A body of each kind."""
    found = {kind: around % b"[%s]" % b",".join([one] * (N_BYTES // (len(one) + 1))) for kind, one in KINDS.items()}
    found["keys"] = around % b"{%s}" % b",".join(b'"%x":1' % i for i in range(N_BYTES // 10))
    return found


def memory(key: str) -> int:
    """Bytes of this process, `VmRSS` now or `VmHWM` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def taken(path: str, body: bytes) -> int:
    """What decoding a body takes."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    with suppress(RequestError):
        DECODES[path](body, None, ANY)
    return memory("VmHWM") - before


def main(path: str) -> None:
    BOUND.lists = sys.maxsize
    found = {}
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for kind, body in bodies(AROUND[path]).items():
            bound = {"cost": json_cost(body), "worst": JSON_COST * len(body)}
            found[kind] = bound | {"taken": pool.apply(taken, (path, body))}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
