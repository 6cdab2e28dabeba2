"""A client that asks all the time, beside whatever else happens to the service."""

import threading
import time

import httpx


class Traffic:
    """What came back, and how long it took."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: list[int] = []
        self.took_s: list[float] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self.stopped.is_set():
                began = time.monotonic()
                self.statuses.append(client.post("/v1/predict", json={"logits": [1, 2, 3]}).status_code)
                self.took_s.append(time.monotonic() - began)
                time.sleep(0.005)

    def __enter__(self) -> "Traffic":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()
