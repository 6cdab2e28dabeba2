"""Who reaches the service."""

import pytest

from service.errors import UsedWrongly
from service.settings import load
from service.transports.reach import check_reach


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_without_keys_nobody_but_this_machine_reaches_the_service_unless_that_is_meant(host: str) -> None:
    with pytest.raises(UsedWrongly) as error:
        check_reach(load(host=host))
    assert str(error.value).startswith(f"without API keys everybody who reaches {host} may ask; expect")
    for meant in ({"insecure": True}, {"api_keys": "secret"}, {"api_keys_file": "keys"}):
        check_reach(load(host=host, **meant))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "nowhere.invalid"])
def test_loopback_needs_no_keys(host: str) -> None:
    check_reach(load(host=host))
