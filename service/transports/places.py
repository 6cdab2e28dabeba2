"""How many connections there are, of all addresses and of each, and which are one too many. Knows no transport."""

from collections import Counter
from typing import Final

from service.errors import AnsweredError, TooManyConnections
from service.transports.limits import Limits

SPARE: Final = 256  # so many connections beyond a bound are told why they are closed; others just are
SPARE_OF_ADDRESS: Final = 64  # of those, where addresses are told apart: none takes the place of a liveness probe


class Places:
    """So many connections, of which so many of one address; 0 is no limit."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self.most = most
        self.most_of_address = most_of_address
        self.n = 0
        self.by_address: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Places {self.n} taken, by {len(self.by_address)} addresses>"

    @property
    def full(self) -> bool:
        """Whether all are taken."""
        return 0 < self.most <= self.n

    def full_for(self, address: str) -> bool:
        """Whether an address has all that it may have."""
        return 0 < self.most_of_address <= self.by_address[address]

    def enter(self, address: str) -> None:
        """Take one."""
        self.n += 1
        if self.most_of_address:
            self.by_address[address] += 1

    def leave(self, address: str) -> None:
        """Give one back."""
        self.n -= 1
        if self.most_of_address:
            self.by_address[address] -= 1
            if not self.by_address[address]:
                del self.by_address[address]


class Connections:
    """Those that are served, and apart from them those beyond a bound, which take no place of others."""

    def __init__(self, limits: Limits) -> None:
        most, most_of_address = limits.max_connections, limits.max_connections_per_address
        spare_of_address = SPARE_OF_ADDRESS if most_of_address else 0  # one proxy may stand before all
        self.served = Places(most, most_of_address)
        self.beyond_all = Places(SPARE, spare_of_address)
        self.beyond_address = Places(SPARE, spare_of_address)

    def __repr__(self) -> str:
        return f"<Connections {self.served.n}, {self.beyond_all.n + self.beyond_address.n} too many>"

    def enter(self, address: str) -> tuple[Places | None, AnsweredError | None]:
        """Where a connection has taken a place, if anywhere, and what it is told if that is not among those served."""
        served = self.served
        if served.full_for(address):
            places, error = self.beyond_address, self.error_of_address()
        elif served.full:
            places, error = self.beyond_all, self.error_of_all()
        else:
            served.enter(address)
            return served, None
        if places.full or places.full_for(address):
            return None, error
        places.enter(address)
        return places, error

    def error_of_address(self) -> TooManyConnections:
        """The error for one too many of an address."""
        return TooManyConnections(
            "this address has too many connections; expected at most "
            f"{self.served.most_of_address} (--max-connections-per-address)"
        )

    def error_of_all(self) -> TooManyConnections:
        """The error for one too many of all."""
        return TooManyConnections(
            f"there are too many connections; expected at most {self.served.most} (--max-connections)"
        )
