"""The options that are settings of the service."""

import argparse
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from service.settings import PREFIX, Settings


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
