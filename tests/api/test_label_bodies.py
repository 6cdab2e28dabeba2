"""What bodies of labels cost: they have their room in the memory for requests before they are parsed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.api.label_bodies import MAX_LINE_BYTES, MOST, cost, parse
from service.errors import AnsweredError, BodyTooLarge, InvalidValue
from tests.api.bodies import until
from tests.conftest import ROOT, Running

Run = Callable[..., Running]
MB = 2**20
NDJSON = {"content-type": "application/x-ndjson"}
MEASURE = """
import re, sys
from pathlib import Path
from service.api.label_bodies import parse
from service.errors import AnsweredError

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

body = {body}
before = peak()
try:
    parse(body, lines={lines})
except AnsweredError:
    pass
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("body", "lines", "most"),
    [
        ("b'ab\\n' * (8 * 2**18)", True, 1 * MB),  # its lines took 170 MB
        ("b'[' + b'[],' * 2**20 + b'[]]\\n'", True, 1 * MB),  # one line
        ("b'{\"labels\":[' + b'[],' * (2**20) + b'[]]}'", False, 32 * 3 * MB),  # 50 bytes a byte in pydantic's parser
        ("b'{\"labels\":[{' + b'\"a\":0,' * 2**18 + b'\"b\":0}]}'", False, 32 * MB),
    ],
)
def test_what_is_no_labels_takes_little(body: str, lines: bool, most: int) -> None:
    program = MEASURE.format(body=body, lines=lines)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(found.stdout) < most


def test_labels_have_their_room_before_they_are_parsed(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path, max_request_memory_mb=32)
    for content, headers in (
        (b'{"labels":[' + b"[]," * (2 * MB // 3) + b"[]]}", {"content-type": "application/json"}),
        (b"ab\n" * (4 * MB // 3), NDJSON),
    ):
        answer = running.client.post("/v1/labels", content=content, headers=headers)
        assert answer.status_code == 413
        assert "--max-request-memory-mb" in answer.json()["error"]
    content = b'{"id":"a","label":1}\n' * 5000
    running.service.budget.taken += 20 * MB
    answer = running.client.post("/v1/labels", content=content, headers=NDJSON)
    assert (answer.status_code, answer.json()["code"]) == (429, "memory_full")
    running.service.budget.taken -= 20 * MB
    assert running.client.post("/v1/labels", content=content, headers=NDJSON).status_code == 202
    until(lambda: running.service.budget.taken == 0)


def test_so_many_labels_as_may_come_at_once_fit_into_the_least_memory(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path, max_request_memory_mb=32)
    content = b'{"labels":[' + b",".join(b'{"id":"%d","label":1}' % i for i in range(MOST)) + b"]}"
    answer = running.client.post("/v1/labels", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 202


def test_a_label_that_is_wrong_gives_the_room_back(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    content = b'{"id":"a","label":1}\n' * 500 + b"{}\n"
    assert running.client.post("/v1/labels", content=content, headers=NDJSON).status_code == 422
    until(lambda: running.service.budget.taken == 0)


def test_a_line_is_no_longer_than_a_label_can_be() -> None:
    with pytest.raises(BodyTooLarge, match=r"labels\[0\] has 65538 bytes; expected at most 65536"):
        parse(b'"%b"' % (b"x" * MAX_LINE_BYTES), lines=True)


def test_of_a_label_with_too_many_keys_the_first_unknown_one_is_told() -> None:
    body = b'{"labels":[{"id":"a","label":1,"x":0,"y":0,"z":0,"w":0}]}'
    with pytest.raises(InvalidValue, match=r"the key 'x' of labels\[0\] is unknown; expected id, row, label, at"):
        parse(body, lines=False)


def test_nothing_is_parsed_behind_a_label_that_is_wrong() -> None:
    with pytest.raises(AnsweredError, match=r"labels\[0\]\.label is -1"):
        parse(b'{"id":"a","label":-1}\nno JSON\n', lines=True)
    assert cost(b"ab\n" * 1000, lines=True) < cost(b'{"id":"a"}\n' * 1000, lines=True)
