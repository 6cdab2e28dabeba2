"""API keys: whose a key is, what it may do, and the file of them, which is read again when it changes.

A file has a line a key: its name, the SHA-256 of the key in hexadecimal digits, its scopes with commas between, and
perhaps the most rows a second. A key is 256 random bits, which nobody finds by trying: a slow hash, as passwords need,
would cost time at every request and add nothing.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from service.errors import InvalidKeys, count
from service.settings import Settings
from service.transports.rate import Buckets, Rate

logger = logging.getLogger(__name__)

SCOPES: Final = ("predict", "label", "observe", "admin")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch
DIGEST: Final = re.compile(r"[0-9a-f]{64}").fullmatch


class Key:
    """A key that is accepted, without the key itself."""

    __slots__ = ("digest", "name", "rate", "revoked", "rows_per_s", "scopes")

    def __init__(
        self, name: str, digest: bytes, scopes: Iterable[str] = SCOPES, rows_per_s: float | None = None
    ) -> None:
        """`digest` is the key's SHA-256; `rows_per_s` the most rows a second, any number where it is none."""
        self.name = name
        self.digest = digest
        self.scopes = frozenset(scopes)
        self.rows_per_s = rows_per_s
        self.rate: Rate | None = None  # which counts them, of a key that is accepted
        self.revoked = False  # for whoever remembers it

    def __repr__(self) -> str:
        return f"<Key {self.name} {','.join(sorted(self.scopes))}>"

    def is_among(self, keys: "Mapping[bytes, Key]") -> bool:
        """Whether these, by their digests, have a key of the same line."""
        other = keys.get(self.digest)
        return other is not None and other.line() == self.line()

    def line(self) -> str:
        """Its line in a file."""
        scopes = ",".join(scope for scope in SCOPES if scope in self.scopes)
        rate = "" if self.rows_per_s is None else f" {self.rows_per_s:.9g}"
        return f"{self.name} {self.digest.hex()} {scopes}{rate}"


class Keys:
    """The keys that are accepted. With neither keys nor a file everybody may ask.

    Attributes:
        guarded: whether a request needs a key.
        by_digest: the keys; replaced as a whole when the file changes.
    """

    def __init__(
        self,
        fixed: Iterable[Key] = (),
        path: Path | None = None,
        shared: Path | None = None,
        last: bytes | None = None,
    ) -> None:
        """Read the file; where that fails, take what it held last, or raise as `read` where there is nothing.

        In the folder `shared` several processes count rows together.
        """
        self.fixed = tuple(fixed)
        self.path = path
        self.guarded = bool(self.fixed) or path is not None
        self.content: bytes | None = None
        self.by_digest = {key.digest: key for key in self.fixed}
        self.buckets = Buckets(shared) if path is not None else None
        try:
            self.read()
        except InvalidKeys:
            if last is None:
                raise
            self.accept(last)

    @classmethod
    def of(cls, settings: Settings, shared: Path | None = None, last: bytes | None = None) -> "Keys":
        """Those of the settings; a key that is given as a setting has all scopes."""
        fixed = [Key(f"api-keys-{i}", sha256(key).digest()) for i, key in enumerate(settings.keys, 1)]
        return cls(fixed, settings.api_keys_file, shared, last)

    def __repr__(self) -> str:
        return f"<Keys {len(self.by_digest)}>"

    def find(self, authorization: bytes | None) -> Key | None:
        """The key that a header carries.

        How long it takes says nothing of a key that is almost right, whose digest is another altogether.
        """
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        return self.by_digest.get(sha256(authorization[7:].strip()).digest())

    def read(self) -> bool:
        """Read the file; whether it has changed. What has no line any more is revoked at once; the log says how many.

        Raises:
            InvalidKeys: the keys are what they were before.
        """
        try:
            content = None if self.path is None else self.path.read_bytes()
            if content is None or content == self.content:
                return False
            self.accept(content)
        except OSError as error:
            raise InvalidKeys(f"the API keys in {self.path} cannot be read: {error.strerror}") from error
        except InvalidKeys as error:
            raise InvalidKeys(f"the API keys in {self.path} cannot be read: {error}") from None
        return True

    def accept(self, content: bytes) -> None:
        """Take these lines for those of the file; raises InvalidKeys."""
        found = {key.digest: key for key in (*parse_keys(content), *self.fixed)}
        for key in found.values():
            if key.rows_per_s is not None and self.buckets is not None:
                key.rate = Rate(key.name, key.rows_per_s, self.buckets, key.digest)
        self.content = content
        before, kept = self.by_digest, {key.digest: key for key in self.by_digest.values() if key.is_among(found)}
        self.by_digest = found | kept
        for key in before.values():
            key.revoked = key.digest not in kept
        if found:
            logger.info("API keys accepted, with those of %s: %d", self.path, len(found))
        else:
            logger.warning("%s has no API key; expected one: every request that needs one is refused", self.path)


def parse_keys(content: bytes) -> list[Key]:
    """The keys of a file; empty lines and what follows `#` are left out.

    Raises:
        InvalidKeys: a line that is none; the sentence has its number, and nothing that may be a key.
    """
    found: dict[str, Key] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            key = parse_line(words, number)
            if key.name in found:
                raise InvalidKeys(f"line {number}: the name {key.name} is there twice; expected one line a name")
            found[key.name] = key
    if len({key.digest for key in found.values()}) < len(found):
        raise InvalidKeys("a hash is there twice; expected a key of its own for each name")
    return list(found.values())


def parse_line(words: list[str], number: int) -> Key:
    if not 3 <= len(words) <= 4:
        raise InvalidKeys(f"line {number} has {count(len(words), 'word')}; expected NAME SHA256 SCOPES [ROWS_PER_S]")
    name, digest, scopes, *rate = words
    try:
        return Key(check_name(name), parse_digest(digest), parse_scopes(scopes), parse_rate(*rate))
    except InvalidKeys as error:
        raise InvalidKeys(f"line {number}: {error}") from None


def check_name(name: str) -> str:
    """A name that can stand in a file; raises InvalidKeys."""
    if not NAME(name):
        raise InvalidKeys("the name is wrong; expected at most 64 letters, digits, dots, dashes and underscores")
    return name


def parse_digest(given: str) -> bytes:
    if not DIGEST(given):
        raise InvalidKeys("the hash is not 64 hexadecimal digits; expected the SHA-256 of a key")
    return bytes.fromhex(given)


def parse_scopes(given: str) -> list[str]:
    """Scopes with commas between; raises InvalidKeys."""
    scopes = given.split(",")
    if not {*SCOPES}.issuperset(scopes):
        raise InvalidKeys(f"there is no such scope; expected some of {', '.join(SCOPES)}, with commas between")
    return scopes


def parse_rate(given: str | None = None) -> float | None:
    """Rows a second, any number of them where nothing is given; raises InvalidKeys."""
    if given is None:
        return None
    try:
        rate = float(given)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise InvalidKeys("the rate is wrong; expected rows a second, a number above 0")
    return rate
