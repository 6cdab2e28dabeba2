"""Bodies and headers of many names: the time goes by how many there are, not by its square."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from service.codec.infer.decode import read_header_fast
from service.codec.infer.header import read_header
from service.codec.objects import first_repeated, parse_object
from service.errors import InvalidValue

N = 40_000  # names: 9 s and more where each is looked for among all, below 0.2 s where none is
ENTRIES = b",".join(b'"k%d":0' % i for i in range(N))


@contextmanager
def quick() -> Iterator[None]:
    """Fail where it takes more than a second of this process."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 1


def test_the_first_name_that_comes_again_is_named() -> None:
    assert first_repeated(["a", "b", "c", "c", "b"]) == "b"


def test_a_repeated_key_among_many_is_found_quickly() -> None:
    with quick(), pytest.raises(InvalidValue, match=r"the key 'k39999' is repeated; it may appear once"):
        parse_object(b"{%s,%s}" % (ENTRIES, b'"k39999":1'))


def test_a_repeated_input_among_many_is_found_quickly() -> None:
    names = [*range(N // 2), N // 2 - 1]
    inputs = b",".join(b'{"name":"k%d","shape":[1],"datatype":"FP32","data":[1]}' % i for i in names)
    with quick(), pytest.raises(InvalidValue, match="the input k19999 is repeated; it may appear once"):
        read_header(b'{"inputs":[%s]}' % inputs)


@pytest.mark.parametrize("read", [read_header, read_header_fast], ids=["careful", "fast"])
def test_many_parameters_are_read_quickly(read: Callable[[bytes], object]) -> None:
    header = b'{"inputs":[],"parameters":{%s}}' % ENTRIES
    with quick(), suppress(InvalidValue):
        assert read(header) is None
