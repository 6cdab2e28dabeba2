"""What the protocols need of uvicorn: a name that is gone is noticed, before it is missed by a request."""

import pytest

from service.transports.private_names import PRIVATE_NAMES, missing_names
from tests.transports.changed_uvicorn import renamed


def test_the_installed_uvicorn_has_every_name_that_is_needed() -> None:
    assert missing_names() == []


@pytest.mark.parametrize("name", sorted(PRIVATE_NAMES))
def test_a_name_that_uvicorn_has_changed_is_missed(name: str) -> None:
    assert missing_names(renamed(name)) == [name]
