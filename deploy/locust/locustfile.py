"""Real traffic for a Calibrant server, in four stages: a ramp, a steady load, an overload, and the time after it.

    locust -f deploy/locust/locustfile.py --headless --only-summary --host http://127.0.0.1:8000

`make load` does this. The load ends by itself, after four times `--stage-s` seconds. A 429 is an answer, and counted
apart from failures; any failure makes the exit code 1. A server that keeps a journal gets labels, too: of half of the
answers of one row, some seconds later.
"""

import json
import time
from argparse import ArgumentParser
from typing import Any, Final

from labels import LABELS, LateLabels
from ledger import Ledger
from locust import FastHttpUser, LoadTestShape, between, constant, events, task
from locust.env import Environment
from traffic import PREDICT, Traffic, fault

USUAL_USERS, FLOOD_USERS = 32, 96
TRAFFIC: Final = Traffic()
LEDGER: Final = Ledger()
LATE: Final = LateLabels()
JSON: Final = {"Content-Type": "application/json"}
TIMEOUT_S: Final = 30.0


@events.init_command_line_parser.add_listener
def add_arguments(parser: ArgumentParser) -> None:
    """One option of our own."""
    parser.add_argument("--stage-s", type=float, default=12.0, help="seconds that each of the four stages lasts")


class Client(FastHttpUser):
    """Somebody who posts, judges the answer, and writes it down."""

    abstract = True
    network_timeout = connection_timeout = TIMEOUT_S
    keeps_journal: bool | None = None  # whether the server does, once it was asked

    def post(self, sent: Any) -> None:
        """One request."""
        stage = Stages.now
        with self.client.post(PREDICT, data=sent.body, headers=JSON, name=sent.kind, catch_response=True) as answer:
            wrong = fault(
                sent, answer.status_code, answer.headers and answer.headers.get("retry-after"), answer.content
            )
            refused = answer.status_code == 429
            if refused:
                answer.request_meta["name"] = f"{sent.kind}: 429"
            if wrong:
                answer.failure(wrong)
            else:
                answer.success()
            LEDGER.add(stage, sent.kind, answer.request_meta["response_time"], refused=refused, fault=wrong)
            if sent.kind == "1x10" and not refused and not wrong:
                LATE.add(answer.headers["x-request-id"], json.loads(answer.content), time.monotonic())

    def send_labels(self) -> None:
        """The labels that are due, where the server keeps a journal."""
        labels = LATE.take(time.monotonic())
        if not labels or Client.keeps_journal is False:
            return
        body = json.dumps({"labels": labels}).encode()
        with self.client.post(LABELS, data=body, headers=JSON, name="labels", catch_response=True) as answer:
            Client.keeps_journal = answer.status_code != 404
            if not Client.keeps_journal:
                answer.success()  # no failure: there is nobody who would count them
                return
            wrong = None if answer.status_code == 202 else f"labels: {answer.status_code} instead of 202"
            if wrong:
                answer.failure(wrong)
            LEDGER.add(Stages.now, "labels", answer.request_meta["response_time"], refused=False, fault=wrong)


class Usual(Client):
    """Sends a bit of everything, with pauses."""

    wait_time = between(0.005, 0.05)

    @task(20)
    def predict(self) -> None:
        """One request of the mix."""
        self.post(TRAFFIC.usual())

    @task(1)
    def label(self) -> None:
        """Labels of earlier answers."""
        self.send_labels()


class Flood(Client):
    """Sends many rows, without a pause."""

    wait_time = constant(0)

    @task
    def predict(self) -> None:
        """One request of many rows."""
        self.post(TRAFFIC.flood())


class Stages(LoadTestShape):
    """Who is there, and when."""

    now = "ramp"
    began: float | None = None

    def tick(self) -> tuple[int, float, list[type[Client]]] | None:
        """Users, users more a second, and their kinds; none at the end."""
        stage_s = self.runner.environment.parsed_options.stage_s if self.runner else 1.0
        number = int(self.get_run_time() / stage_s)
        stages = {
            "ramp": (USUAL_USERS, USUAL_USERS / stage_s, [Usual]),
            "steady": (USUAL_USERS, float(USUAL_USERS), [Usual]),
            "overload": (USUAL_USERS + FLOOD_USERS, float(FLOOD_USERS), [Usual, Flood]),
            "recovery": (USUAL_USERS, float(FLOOD_USERS), [Usual]),
        }
        if number >= len(stages):
            self.enter(self.now)
            return None
        name = list(stages)[number]
        self.enter(name)
        return stages[name]

    def enter(self, name: str) -> None:
        """Keep count of how long a stage lasted."""
        now = time.monotonic()
        cls = type(self)
        if cls.began is None:
            cls.began = now
        LEDGER.lasted_s[cls.now] = now - cls.began
        if name != cls.now:
            cls.now, cls.began = name, now


@events.quitting.add_listener
def show(environment: Environment, **_: Any) -> None:
    """Print our table; a distributed run has locust's own."""
    if LEDGER.lines:
        LEDGER.show()
        if Client.keeps_journal:
            LATE.show(environment.host or "")
        environment.process_exit_code = 1 if LEDGER.total().n_failed else 0
