"""Calibrant: logits in, calibrated probabilities out.

The rooms, top to bottom: `cli`; `serve` and `inspect`, the commands of a running service; `app`, the wiring; `lane`,
`workers` and `rpc`, the face over gRPC; `api`, the faces; `repository`; `codec` and `batching`; `head`; `rows`;
`conformal` and `pruning`; `metadata`; `telemetry`, `traces` and `logs`; `settings`; `errors`. Beside them, never loaded
while serving, `heads` and `calibration`.
"""

from typing import Final

__version__: Final = "0.1.0"
