"""Models as the codec sees them, without a head behind them."""

import numpy as np

from service.engine.signature import Signature

ANY = Signature("stub", "1")
LATE_MASK = Signature("stub", "1", masks_first=False)
THREE = Signature("stub", "1", classes=3, labels=("cat", "dog", "eel"))
TEXTS = Signature(
    "stub", "1", classes=3, takes="inputs", inputs={"text": (np.object_, (1,)), "age": (np.float32, (1,))}
)
CLASSIFIER = Signature(
    "stub",
    "1",
    classes=3,
    takes="inputs",
    inputs={"pixels": (np.float32, (2, 2)), "ids": (np.int64, (None,)), "flag": (np.bool_, (1,))},
)
