from typing import Any

from service.codec.predict.usual import Usual

def read_usual(body: Any, /) -> Usual | None: ...
