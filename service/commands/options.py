"""The options that are settings of the service, and what is wrong with several of them together."""

import argparse
import logging
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import parse_qs, urlsplit

from service.errors import UsedWrongly
from service.settings import PREFIX, Settings, spell

logger = logging.getLogger(__name__)

SECRET: Final = frozenset({"api_keys", "journal_hash_ids", "journal_store"})  # better in the environment
NEAR: Final = 0.7  # of difflib's ratio
OF_OTHERS: Final = frozenset({"api_key", "format", "model", "prefix", "report"})
"""Options of other commands whose names are near those of settings."""


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """An option for each of these settings; what is not given comes from the environment, then from the default."""
    for name in names:
        field = Settings.model_fields[name]
        default = "none" if field.default in (None, "") else field.default
        default = f"{default:g}" if isinstance(default, float) else default
        how: dict[str, Any] = {"metavar": field.title or name.rpartition("_")[2].upper()}
        if field.annotation is bool:
            how = {"action": argparse.BooleanOptionalAction}
        elif get_origin(field.annotation) is Literal:
            how = {"choices": get_args(field.annotation)}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            help=f"{field.description} (default: {default}; {PREFIX}{name.upper()})",
            **how,
        )


def journal_folder(settings: Settings) -> Path:
    """The folder of the journal; raises UsedWrongly where there is none."""
    if settings.journal is None:
        raise UsedWrongly("there is no journal; expected --journal FOLDER (CALIBRANT_JOURNAL), as serve has it")
    return settings.journal


def check_times(settings: Settings) -> None:
    """Refuse seconds that make no sense together.

    Raises:
        UsedWrongly: no request could be answered in time, or every worker would be killed.
    """
    if settings.max_wait_ms >= settings.default_timeout_ms:
        raise UsedWrongly(
            f"{spell('max_wait_ms')} is {settings.max_wait_ms:g}, and no request waits so long; expected less than the "
            f"{settings.default_timeout_ms:g} of {spell('default_timeout_ms')}"
        )
    if 0 < settings.worker_timeout_s < 1:
        raise UsedWrongly(f"{spell('worker_timeout_s')} is {settings.worker_timeout_s:g}; expected 0, or at least 1")


def warn(settings: Settings, environment: Mapping[str, str]) -> None:
    """Log what is allowed, and hardly meant: variables that are nearly settings, and access lines that nobody sees."""
    for variable, name in misspelt(environment).items():
        logger.warning("%s is no setting and changes nothing; expected %s%s", variable, PREFIX, name.upper())
    if settings.access_log and settings.log_level in {"warning", "error"}:
        logger.warning(
            "--access-log writes lines of the level info, of which --log-level %s shows none", settings.log_level
        )


def warn_of_secrets(settings: Settings, given: Iterable[str]) -> None:
    """Log which of the options that are `given` on the command line are secret, without a word of them."""
    for name in sorted(SECRET.intersection(given)):
        if name != "journal_store" or has_password(settings.journal_store):
            logger.warning(exposed(name))


def exposed(name: str) -> str:
    """What to do about a secret on the command line."""
    option = name.replace("_", "-")
    return (
        f"--{option} is on the command line, which everybody on this machine can read; "
        f"expected it in {PREFIX}{name.upper()}"
    )


def has_password(address: str) -> bool:
    """Whether the address of a database has a password, before the host or as a parameter; also where it is broken."""
    try:
        parts = urlsplit(address)
        return bool(parts.password) or "password" in parse_qs(parts.query)
    except ValueError:
        return "@" in address


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that are no setting, to the setting that each is nearly; others may set what is like none."""
    known = OF_OTHERS.union(Settings.model_fields)
    names = {name: name.removeprefix(PREFIX).lower() for name in sorted(environment) if name.startswith(PREFIX)}
    near = {
        variable: get_close_matches(name, Settings.model_fields, n=1, cutoff=NEAR)
        for variable, name in names.items()
        if name not in known
    }
    return {variable: settings[0] for variable, settings in near.items() if settings}
