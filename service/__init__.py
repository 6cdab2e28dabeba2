"""Calibrant: logits in, calibrated probabilities out.

The rooms, top to bottom: `cli`, `app`, `api`, `repository`, `codec` and `batching`, `head`, `rows`, `metadata`,
`settings`, `errors`; beside them, never loaded while serving, `heads` and `calibration`.
"""

from typing import Final

__version__: Final = "0.1.0"
