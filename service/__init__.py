"""Calibrant: logits in, calibrated probabilities out.

README.md beside this file draws one request and one calibration, and says what each room is for.
"""

from typing import Final

__version__: Final = "0.1.0"
