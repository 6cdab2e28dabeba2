"""Who asks, who leaves, what is counted, and how it ends."""

import logging
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from service.rpc.messages import HEALTH
from tests.api.bodies import held, until
from tests.conftest import ROOT
from tests.processes import Process, calibrant, environment, serve
from tests.rpc.calls import Caller, arrays, calling, request
from tests.test_cli import one_sentence

Code = grpc.StatusCode
ONE = request(("logits", "FP32", [[1, 2]]))


@pytest.fixture(autouse=True)
def _nothing_at_error_level(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A client's mistake is no reason to wake anybody."""
    yield
    assert not [r for when in ("setup", "call") for r in caplog.get_records(when) if r.levelno >= logging.ERROR]


def failing(call: Callable[..., Any]) -> Any:
    """The error of a call."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


def counted(caller: Caller) -> dict[tuple[str, str], float]:
    """Requests by model and code, as Prometheus sees them."""
    assert caller.running
    text = caller.running.client.get("/metrics").text
    found = re.findall(r'calibrant_requests_total\{code="(\d+)",model="(\w*)",version="\w*"\} (\S+)', text)
    return {(model, code): float(n) for code, model, n in found if float(n)}


def waiting(caller: Caller) -> int:
    """Rows in the queue."""
    assert caller.running
    assert caller.running.service.batcher
    return caller.running.service.batcher.n_waiting


# --- who asks


def test_a_key_is_asked_for_as_over_http() -> None:
    with calling(api_keys="secret,other") as caller:
        for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", "secret"),)):
            error = failing(lambda metadata=metadata: caller.infer(ONE, metadata=metadata))
            assert error.code() == Code.UNAUTHENTICATED
            assert error.details().startswith("the key is missing or wrong")
            assert dict(error.trailing_metadata())["www-authenticate"] == "Bearer"
            stream = caller.stream()(iter([ONE]), metadata=metadata)
            assert failing(lambda stream=stream: list(stream)).code() == Code.UNAUTHENTICATED
        assert failing(lambda: caller.call("ModelMetadata", name="softmax")).code() == Code.UNAUTHENTICATED
        key = (("authorization", "bearer other"),)
        assert caller.infer(ONE, metadata=key)
        assert list(caller.stream()(iter([ONE]), metadata=key))
        assert caller.call("Check", HEALTH).status == 1  # open, as /healthz is
        assert caller.call("ServerLive").live
        assert caller.call("ServerReady").ready
        assert caller.running
        caller.running.client.headers["authorization"] = "Bearer secret"
        assert counted(caller) == {("", "401"): 6, ("softmax", "200"): 2}


def test_a_request_s_id_comes_back_and_one_is_made_where_none_came() -> None:
    with calling() as caller:
        assert caller.infer(ONE, metadata=(("x-request-id", "abc"),)).trailing["x-request-id"] == "abc"
        first, second = caller.infer(ONE).trailing, caller.infer(ONE).trailing
        assert first["x-request-id"] != second["x-request-id"]
        assert re.fullmatch(r"decode;dur=\d.*, queue;dur=.*, run;dur=.*, encode;dur=[\d.]+", first["server-timing"])
        error = failing(lambda: caller.infer(request(), metadata=(("x-request-id", "wrong"),)))
        assert dict(error.trailing_metadata())["x-request-id"] == "wrong"


def test_requests_are_counted_like_any_other() -> None:
    with calling() as caller:
        assert caller.running
        for _ in range(3):
            caller.infer(ONE)
        caller.running.predict({"logits": [1, 2]})
        failing(lambda: caller.infer(request(("logits", "INT8", [[1]]))))
        failing(lambda: caller.infer(request(model_name="nobody")))
        failing(lambda: caller.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff"))
        assert counted(caller) == {("softmax", "200"): 4, ("softmax", "422"): 1, ("", "404"): 1, ("", "400"): 1}


def test_the_access_log_has_a_line_a_call(caplog: pytest.LogCaptureFixture) -> None:
    with calling(access_log=True) as caller, caplog.at_level(logging.INFO, "calibrant.access"):
        caller.infer(ONE)
        failing(lambda: caller.infer(request()))
        caller.call("ServerLive")
    path = "POST /inference.GRPCInferenceService"
    said = [re.sub(r"\d+\.\d+", "T", r.getMessage()) for r in caplog.records if r.name == "calibrant.access"]
    assert said == [
        f"{path}/ModelInfer 200 T ms softmax/1 1 rows",
        f"{path}/ModelInfer 422 T ms softmax/1 0 rows",
        f"{path}/ServerLive 200 T ms",
    ]


def test_the_access_log_has_a_line_a_request_of_a_stream_and_one_for_a_stream_that_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with calling(access_log=True, api_keys="k") as caller, caplog.at_level(logging.INFO, "calibrant.access"):
        key = (("authorization", "Bearer k"),)
        assert len(list(caller.stream()(iter([ONE, request(), ONE]), metadata=key))) == 3
        failing(lambda: list(caller.stream()(iter([ONE]))))
    said = [r.getMessage().split(" ms")[1].split() for r in caplog.records if r.name == "calibrant.access"]
    statuses = [vars(r)["status"] for r in caplog.records if r.name == "calibrant.access"]
    assert statuses == [200, 422, 200, 401]
    assert [line[-3:] for line in said] == [["softmax/1", f"{n}", "rows"] for n in (1, 0, 1)] + [[]]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_access_log_has_a_line_for_who_leaves(streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    with calling(access_log=True) as caller, caplog.at_level(logging.INFO, "calibrant.access"):
        assert caller.running
        with held(caller.running) as hold:
            call = caller.stream()(iter([ONE])) if streamed else caller.method("ModelInfer").future(ONE, timeout=30)
            hold.wait()
            call.cancel()
            until(lambda: any(r.name == "calibrant.access" for r in caplog.records))
    (record,) = (r for r in caplog.records if r.name == "calibrant.access")
    assert (vars(record)["status"], vars(record)["model"]) == (499, "softmax")


def test_requests_over_both_share_a_batch() -> None:
    with calling() as caller:
        assert caller.running
        with held(caller.running) as hold:
            first = caller.method("ModelInfer").future(ONE, timeout=30)
            hold.wait()
            calls = [caller.method("ModelInfer").future(ONE, timeout=30) for _ in range(2)]
            posting = threading.Thread(target=caller.running.predict, args=({"logits": [1, 2]},))
            posting.start()
            until(lambda: waiting(caller) == 3)
        posting.join()
        assert all(call.result() for call in (first, *calls))
        stats = caller.call("ModelStatistics", name="softmax").model_stats[0]
        assert [(batch.batch_size, batch.compute_infer.count) for batch in stats.batch_stats] == [(1, 1), (3, 1)]


# --- who leaves, and who must wait


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_the_rows_of_who_has_gone_are_dropped_and_hurt_nobody(how: str) -> None:
    with calling() as caller:
        assert caller.running
        with held(caller.running) as hold:
            first = caller.method("ModelInfer").future(ONE, timeout=30)
            hold.wait()
            gone = caller.method("ModelInfer").future(ONE, timeout=30 if how == "cancelled" else 0.5)
            until(lambda: waiting(caller) == 1)
            stays = caller.method("ModelInfer").future(ONE, timeout=30)
            until(lambda: waiting(caller) == 2)
            if how == "cancelled":
                gone.cancel()
            else:
                assert failing(gone.result).code() == Code.DEADLINE_EXCEEDED
            batcher = caller.running.service.batcher
            assert batcher
            (group,) = batcher.queues.values()
            until(lambda: [entry.done is None for entry in group.waiting] == [True, False])
        assert first.result()
        assert stays.result()
        stats = caller.call("ModelStatistics", name="softmax").model_stats[0]
        assert stats.inference_count == 2
        assert [(batch.batch_size, batch.compute_infer.count) for batch in stats.batch_stats] == [(1, 2)]


def test_the_parameter_timeout_is_a_deadline_too() -> None:
    with calling() as caller:
        assert caller.running
        with held(caller.running) as hold:
            asked = request(("logits", "FP32", [[1]]), parameters={"timeout": {"int64_param": 300_000}})
            error = failing(lambda: caller.infer(asked))
            hold.wait()
        assert error.code() == Code.DEADLINE_EXCEEDED
        assert error.details().startswith(
            "the deadline passed before the answer was ready; expected more time, of the req"
        )
        assert counted(caller) == {("softmax", "504"): 1}


def test_more_than_the_queue_holds_is_refused_and_the_rest_answered() -> None:
    with calling(max_queue_rows=2) as caller:
        assert caller.running
        with held(caller.running) as hold:
            first = caller.method("ModelInfer").future(ONE, timeout=30)
            hold.wait()
            queued = [caller.method("ModelInfer").future(ONE, timeout=30) for _ in range(2)]
            until(lambda: waiting(caller) == 2)
            error = failing(lambda: caller.infer(ONE))
        assert error.code() == Code.RESOURCE_EXHAUSTED
        why = "the queue is full: 2 of at most 2 rows are waiting; try again in a moment (--max-queue-rows)"
        assert error.details() == why
        assert dict(error.trailing_metadata())["retry-after"] == "1"
        assert all(call.result() for call in (first, *queued))


# --- streams


def test_a_stream_is_answered_in_order_and_goes_on_after_a_mistake() -> None:
    messages = [request(("logits", "FP32", [[i, 0]]), id=str(i)) for i in range(200)]
    messages[7] = request(("logits", "FP32", [[1, 2]]), id="7", model_name="nobody")
    with calling() as caller:
        answers = list(caller.stream()(iter(messages), timeout=30))
        alone = arrays(caller.infer(messages[199]).message)
    assert [answer.infer_response.id for answer in answers] == [str(i) for i in range(200)]
    wrong = {i: answer.error_message for i, answer in enumerate(answers) if answer.error_message}
    assert wrong.keys() == {7}
    assert wrong[7].startswith("there is no model of that name")
    last = arrays(answers[199].infer_response)
    assert {name: values.tobytes() for name, values in last.items()} == {
        name: values.tobytes() for name, values in alone.items()
    }


def test_the_requests_of_a_stream_share_batches() -> None:
    with calling() as caller:
        assert caller.running
        with held(caller.running) as hold:
            stream = caller.stream()(iter([ONE] * 5), timeout=30)
            hold.wait()
            until(lambda: waiting(caller) == 4)
        assert len(list(stream)) == 5


def test_a_stream_that_is_left_drops_its_rows() -> None:
    with calling() as caller:
        assert caller.running
        with held(caller.running) as hold:
            stream = caller.stream()(iter([ONE] * 5), timeout=30)
            hold.wait()
            until(lambda: waiting(caller) == 4)
            batcher = caller.running.service.batcher
            assert batcher
            (group,) = batcher.queues.values()
            stream.cancel()
            until(lambda: all(entry.done is None for entry in group.unanswered()))
        until(lambda: waiting(caller) == 0)
        assert caller.infer(ONE)


def test_an_idle_stream_does_not_hold_the_end() -> None:
    wanted, messages = threading.Event(), [ONE]

    def asked() -> Iterator[Any]:
        yield messages[0]
        wanted.wait(30)

    with calling() as caller:
        stream = caller.stream()(asked())
        assert next(stream).infer_response.model_name == "softmax"
        assert caller.running
        caller.running.server.should_exit = True
        error = failing(lambda: next(stream))
        wanted.set()
    assert (error.code(), error.details()) == (Code.UNAVAILABLE, "the service is stopping")


# --- how it begins, and how it ends


def address(process: Process) -> int:
    """The port that a process says it answers gRPC on."""
    found = re.search(r"over gRPC on 127\.0\.0\.1:(\d+)", process.printed)
    assert found, process.printed
    return int(found[1])


def test_sigterm_says_not_ready_at_once_and_goes_on_until_the_delay_is_over() -> None:
    with serve("--grpc", 0, "--drain-delay-s", 30) as process:
        caller = Caller(None, address(process))
        with caller.channel:
            assert caller.call("ServerReady").ready
            process.popen.send_signal(signal.SIGTERM)
            until(lambda: not caller.call("ServerReady").ready)
            assert caller.call("ServerLive").live
            assert not caller.call("ModelReady", name="softmax").ready
            assert caller.call("Check", HEALTH).status == 2
            assert caller.infer(ONE)
            code, errors = process.end(signal.SIGTERM)
    assert (code, errors) == (0, "")


def test_what_is_in_flight_is_answered_before_the_service_ends() -> None:
    with serve("--grpc", 0, "--max-wait-ms", 1500) as process:
        caller = Caller(None, address(process))
        with caller.channel:
            calls = [caller.method("ModelInfer").future(ONE, timeout=30) for _ in range(4)]
            until(lambda: "calibrant_queue_rows 4.0" in process.client.get("/metrics").text)
            process.client.close()
            code, errors = process.end(signal.SIGTERM)
            assert all(call.result() for call in calls)
    assert (code, errors) == (0, "")


def test_two_workers_share_the_port_and_their_counts_add_up() -> None:
    with serve("--grpc", 0, "--workers", 2, "--no-watch") as process:
        answered = set()
        for _ in range(40):  # each on a connection of its own, so that both workers get some
            caller = Caller(None, address(process))
            with caller.channel:
                answered.add(caller.infer(ONE).trailing["x-request-id"].partition("-")[0])
        assert len(answered) == 2
        total = 'calibrant_requests_total{code="200",model="softmax",version="1"} 40.0'
        until(lambda: total in process.client.get("/metrics").text)
        code, errors = process.end(signal.SIGTERM)
    assert (code, errors) == (0, "")


def test_a_port_in_use_is_exit_code_3() -> None:
    with calling() as caller:
        done = calibrant("serve", "--port", 0, "--grpc", caller.port)
    one_sentence(
        done, 3, f"cannot listen on 127.0.0.1:{caller.port} (Address already in use): take another with --grpc"
    )


HIDDEN = "import sys; sys.modules['grpc'] = None; from service.cli import main; sys.exit(main(sys.argv[1:]))"


def test_without_the_extra_it_is_exit_code_3() -> None:
    command = [sys.executable, "-c", HIDDEN, "serve", "--port", "0", "--grpc", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=environment())
    one_sentence(done, 3, "--grpc needs the extra grpc, grpc is missing: pip install 'calibrant[grpc]'")


def test_without_the_option_neither_grpc_nor_protobuf_is_loaded() -> None:
    code = """
import sys
from service.commands.serve import *
with_grpc = create_app(Settings(models="models"))
print(sorted({"grpc", "google.protobuf", "service.rpc"} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment()
    )
    assert done.stdout == "[]\n"


def test_a_packed_bomb_is_not_unpacked() -> None:
    with serve("--grpc", 0, "--max-body-bytes", 2**20) as process:
        channel = grpc.insecure_channel(
            f"127.0.0.1:{address(process)}", options=(("grpc.max_send_message_length", -1),)
        )
        with channel:
            before = process.resident_bytes
            for coding in (grpc.Compression.Gzip, grpc.Compression.Deflate):
                call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                error = failing(
                    lambda call=call, coding=coding: call(np.zeros(2**28, np.uint8).tobytes(), compression=coding)
                )
                assert error.code() == Code.RESOURCE_EXHAUSTED
            assert process.resident_peak_bytes - before < 2**26
