"""The command line as a person has it: exit codes, one sentence where something is wrong, an end that loses nothing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import onnx
import onnxruntime as ort
import pytest
from rich.cells import cell_len

from service import __version__
from service.cli import main
from service.engine.head import Head
from service.metadata import SHORT_KEY
from tests.conftest import ROOT
from tests.heads_made import foreign, head
from tests.processes import calibrant, environment, serve

SHIPPED = ROOT / "models" / "softmax" / "1" / "model.onnx"
HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()
TRANSPORTS = pytest.mark.parametrize("transport", ["--fast-http", "--no-fast-http"])


def one_sentence(done: subprocess.CompletedProcess[str], code: int, sentence: str) -> None:
    """Assert an exit code, and a standard error that is just one line for a person."""
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert done.stderr.startswith("calibrant serve: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


def folder(tmp_path: Path, what: str) -> Path:
    """A models folder that cannot be served."""
    models = tmp_path / "models"
    place = models / "m" / "1" / "model.onnx"
    if what == "missing":
        return models
    if what == "foreign":
        foreign(place)
        return models
    place.parent.mkdir(parents=True)
    if what == "a file":
        return SHIPPED
    if what == "corrupt":
        place.write_bytes(SHIPPED.read_bytes()[:500])
    return models


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("missing", "is not there: name it with --models, or make a head for it with `calibrant export --name NAME`"),
        ("a file", "is a file; expected a folder (--models)"),
        ("empty", "has no NAME/VERSION/model.onnx: make one with `calibrant export --name NAME`"),
        ("corrupt", "is not an ONNX model: it breaks off, or is no protobuf"),
        ("foreign", "has no Calibrant metadata: make it with `calibrant export`"),
    ],
)
def test_a_models_folder_that_cannot_be_served_is_exit_code_3(tmp_path: Path, what: str, sentence: str) -> None:
    one_sentence(calibrant("serve", "--port", 0, "--models", folder(tmp_path, what)), 3, sentence)


def test_a_port_in_use_is_exit_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = calibrant("serve", "--port", port)
    one_sentence(done, 3, f"cannot listen on 127.0.0.1:{port} (Address already in use): take another with --port")


def test_an_address_that_is_not_this_machines_is_exit_code_3() -> None:
    one_sentence(
        calibrant("serve", "--host", "192.0.2.1", "--port", 0, "--insecure"), 3, "cannot listen on 192.0.2.1:0"
    )


def test_an_address_that_others_reach_wants_keys() -> None:
    done = calibrant("serve", "--host", "0.0.0.0", "--port", 0)
    one_sentence(done, 2, "without API keys everybody who reaches 0.0.0.0 may ask; expected --api-keys-file FILE")


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_cuda_that_is_not_there_is_exit_code_3() -> None:
    done = calibrant("serve", "--port", 0, "--provider", "cuda")
    one_sentence(done, 3, "provider cuda was asked for, but this ONNX Runtime has none")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--provider", "gpu"], "invalid choice: 'gpu'"),
        (["--port", "many"], "--port (CALIBRANT_PORT) is 'many'; expected a whole number"),
        (["--port", "70000"], "--port (CALIBRANT_PORT) is '70000'; expected a number of at most 65535"),
        (["--load-timeout-s", "nan"], "is 'nan'; expected a number"),
        (
            ["--max-batch-rows", "0"],
            "--max-batch-rows (CALIBRANT_MAX_BATCH_ROWS) is '0'; expected a number of at least 1",
        ),
        (["--journal-sample", "x"], "--journal-sample (CALIBRANT_JOURNAL_SAMPLE) is 'x'; expected a number"),
        (["--journal-sample", "0"], "--journal-sample (CALIBRANT_JOURNAL_SAMPLE) is '0'; expected a number above 0"),
        (
            ["--refit", "off"],
            "--refit (CALIBRANT_REFIT) does nothing without a journal; expected --journal FOLDER as well",
        ),
        (["--ece-bound", "1"], "--ece-bound (CALIBRANT_ECE_BOUND) is '1'; expected a number below 1"),
        (["--watch", "perhaps"], "unrecognized arguments: perhaps"),
        (["--max-wait-ms", "nan"], "--max-wait-ms (CALIBRANT_MAX_WAIT_MS) is 'nan'; expected a"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
        (["--port"], "expected one argument"),
    ],
    ids=str,
)
def test_a_wrong_option_is_exit_code_2(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("calibrant serve: ")
    assert said.count("\n") == 1
    assert sentence in said


def test_a_wrong_value_in_the_environment_is_exit_code_2() -> None:
    one_sentence(calibrant("serve", CALIBRANT_PORT="x"), 2, "--port (CALIBRANT_PORT) is 'x'")
    sentence = "--provider (CALIBRANT_PROVIDER) is 'gpu'; expected 'cpu', 'cuda' or 'auto'"
    one_sentence(calibrant("serve", CALIBRANT_PROVIDER="gpu"), 2, sentence)
    sentence = "--watch (CALIBRANT_WATCH) is 'perhaps'; expected true or false"
    one_sentence(calibrant("serve", CALIBRANT_WATCH="perhaps"), 2, sentence)


def test_an_empty_variable_is_exit_code_2() -> None:
    one_sentence(calibrant("serve", CALIBRANT_JOURNAL=""), 2, "--journal (CALIBRANT_JOURNAL) is empty; expected")
    done = calibrant("keys", "add", "shop", CALIBRANT_API_KEYS_FILE="")
    assert (done.returncode, done.stderr) == (
        2,
        "calibrant keys: CALIBRANT_API_KEYS_FILE is empty; expected a value, or no such variable\n",
    )


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["surf"]) == 2
    assert re.fullmatch(r"calibrant: .*invalid choice: 'surf'.*\n", capsys.readouterr().err)


def test_a_command_that_is_interrupted_ends_with_the_shell_s_exit_code_and_no_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.commands.inspect.run", interrupted)
    assert main(["inspect", str(SHIPPED)]) == 130
    assert capsys.readouterr() == ("", "")


def test_without_a_command_the_commands_are_listed() -> None:
    for arguments in ((), ("--help",)):
        done = calibrant(*arguments)
        assert done.returncode == 0
        assert set(re.findall(r"(serve|export|inspect)  +\w", done.stdout)) == {"serve", "export", "inspect"}
    assert calibrant("--version").stdout == f"calibrant {__version__}\n"


def test_the_help_shows_every_option_with_its_default_and_its_variable() -> None:
    text = " ".join(calibrant("serve", "--help").stdout.split())
    for option, default, variable in (
        ("--max-batch-rows", "1024", "CALIBRANT_MAX_BATCH_ROWS"),
        ("--port", "8000", "CALIBRANT_PORT"),
        ("--max-wait-ms", "0", "CALIBRANT_MAX_WAIT_MS"),
    ):
        assert option in text
        assert f"(default: {default}; {variable})" in text
    for option, unit in (
        ("--min-bytes-per-s", "BYTES"),
        ("--max-connections-per-address", "CONNECTIONS"),
        ("--max-requests-per-connection", "REQUESTS"),
    ):
        assert f"{option} {unit} " in text


def test_inspect_prints_a_heads_story(tmp_path: Path) -> None:
    path = head(tmp_path / "model.onnx", 1.75, labels=["cat", "dog"])
    done = calibrant("inspect", path)
    assert done.returncode == 0, done.stderr
    for said in (str(path), "logits: float32 [N, 2]", "temperature 1.75", "cat, dog"):
        assert said in done.stdout
    [short] = [prop.value for prop in onnx.load(path).metadata_props if prop.key == SHORT_KEY]
    assert short[:40] not in done.stdout
    done = calibrant("inspect", "--json", path)
    assert json.loads(done.stdout)["labels"] == ["cat", "dog"]
    assert short[:40] not in done.stdout


def test_inspect_keeps_to_80_columns_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    labels = [f"\u732b {i} with a name" for i in range(30)]
    long = "a_label_that_has_no_comma_and_is_longer_than_all_of_the_80_columns_of_a_terminal_or_a_pipe"
    path = head(tmp_path / "model.onnx", labels=[long, *labels])
    digits = ROOT / "models/digits/1/model.onnx"
    done = {p: calibrant("inspect", p, COLUMNS="80").stdout for p in (path, digits)}
    for line in "".join(done.values()).splitlines():
        assert cell_len(line) <= 80 or len(line.split()[-1]) > 60, line
    assert f"\nlabels           {long},\n" in done[path]
    said = " ".join(done[path].split())
    assert f"{', '.join([long, *labels[:11]])}, and 19 more with --json calibrator" in said
    metrics = Head(digits).metadata.metrics
    for when in ("before", "after"):
        every = ", ".join(f"{name} {value:.6g}" for name, value in metrics[when].items())
        assert f"{when} {every} " in " ".join(done[digits].split())


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "is not a file"), ("hello", "is not an ONNX model that can be loaded")]
)
def test_inspect_of_what_is_no_head_is_exit_code_3(
    tmp_path: Path, content: str | None, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_text(content)
    assert main(["inspect", str(path)]) == 3
    assert capsys.readouterr().err.startswith(f"calibrant inspect: {path} {sentence}")


@TRANSPORTS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_service_with_exit_code_0(transport: str, number: int) -> None:
    with serve(transport) as process:
        assert process.client.post("/v1/predict", json={"logits": [1, 2]}).status_code == 200
        code, errors = process.end(number)  # while a connection rests
    assert code == 0
    assert "Traceback" not in errors
    assert "ERROR" not in errors


@TRANSPORTS
def test_what_is_in_flight_is_answered_before_the_service_ends(transport: str) -> None:
    with serve(transport, "--max-wait-ms", 1500) as process:
        address = ("127.0.0.1", httpx.URL(process.url).port)
        connections = [socket.create_connection(address, timeout=20) for _ in range(4)]
        body = b'{"logits":[1,2]}'
        for connection in connections:
            connection.sendall(
                b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
            )
        # whoever comes later is heard later: those four are in the queue
        for _ in range(2):
            assert httpx.get(process.url + "/healthz").status_code == 200
        process.client.close()
        code, errors = process.end(signal.SIGTERM)
        answers = []
        for connection in connections:
            with connection:
                answers.append(b"".join(iter(partial(connection.recv, 65536), b"")))
    assert code == 0, errors
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), errors
        assert b'"probabilities":[' in answer


def test_sigterm_first_says_not_ready_where_a_delay_is_asked_for() -> None:
    with serve("--drain-delay-s", 30) as process:
        process.popen.send_signal(signal.SIGTERM)
        while (response := process.client.get("/readyz")).status_code == 200:
            pass
        assert response.json()["error"] == "the service is stopping"
        assert process.client.post("/v1/predict", json={"logits": [1]}).status_code == 200
        assert process.end(signal.SIGTERM)[0] == 0


def test_the_start_prints_what_is_served_where_and_a_request_that_works() -> None:
    with serve(CALIBRANT_LOG_LEVEL="warning") as process:
        assert re.search(r"softmax +1 +any +none +1 +cpu", process.printed)
        assert f"{process.url}/console/" in process.printed
        url, body = re.findall(r"curl -s (\S+) -d '([^']+)'", process.printed)[0]
        answer = process.client.post(url, content=body).json()
        assert f"/models/{answer['model']}/" in url
        assert sum(answer["probabilities"]) == pytest.approx(1, rel=1e-6)
        code, errors = process.end(signal.SIGINT)
    assert (code, errors) == (0, "")


def test_where_the_log_is_json_so_is_what_the_start_prints() -> None:
    with serve("--log-format", "json", CALIBRANT_LOG_LEVEL="warning") as process:
        (line,) = process.printed.splitlines()
        said = json.loads(line)
        assert (said["level"], said["message"]) == ("info", f"Calibrant answers on {process.url}.")
        assert {"model": "softmax", "version": "1", "classes": "any"}.items() <= said["models"][-1].items()
        assert said["example"].startswith(f"curl -s {process.url}/v1/models/")
        code, errors = process.end(signal.SIGINT)
    assert (code, errors) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["serve", "--models", "nowhere", "--port", "0"], 3, "calibrant serve: the models folder nowhere is not there"),
        (["serve", "--port", "many"], 2, "calibrant serve: --port (CALIBRANT_PORT) is 'many'; expected a whole number"),
        (["live"], 2, "calibrant live: there is no journal"),
    ],
)
def test_where_the_log_is_json_so_is_why_a_process_does_not_start(
    arguments: list[str], code: int, sentence: str
) -> None:
    for done in (calibrant(*arguments, "--log-format", "json"), calibrant(*arguments, CALIBRANT_LOG_FORMAT="json")):
        assert (done.returncode, done.stdout) == (code, "")
        (line,) = done.stderr.splitlines()
        said = json.loads(line)
        assert (said["level"], said["exit_code"]) == ("error", code)
        assert said["message"].startswith(sentence)
    assert calibrant("inspect", "nowhere", CALIBRANT_LOG_FORMAT="json").stderr.startswith("calibrant inspect: ")
    assert calibrant("serve", "--log-format").stderr.startswith("calibrant serve: ")


def test_settings_come_from_the_environment_and_options_win() -> None:
    with serve("--max-batch-rows", 5, CALIBRANT_MAX_BATCH_ROWS="6", CALIBRANT_MAX_QUEUE_ROWS="7") as process:
        bounds = process.client.get("/v1/models").json()["batching"]
    assert (bounds["max_batch_rows"], bounds["max_queue_rows"]) == (5, 7)


def test_serving_never_imports_what_builds_and_fits() -> None:
    code = """
import sys
from service.commands.serve import *
service = create_app(Settings(models="models"))
forbidden = {"onnx", "scipy", "matplotlib", "pandas", "torch", "service.heads", "service.calibration"}
print(sorted(forbidden & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment()
    )
    assert done.stdout == "[]\n"


def test_an_option_of_any_command_can_come_from_the_environment(tmp_path: Path) -> None:
    variables = {**os.environ, "CALIBRANT_MODELS": str(tmp_path), "CALIBRANT_TEMPERATURE": "2.5"}
    command = [sys.executable, "-m", "service", "export", "--name", "mine"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert "temperature 2.5" in done.stdout
    assert (tmp_path / "mine/1/model.onnx").is_file()


def test_an_option_that_is_given_goes_before_the_environment(tmp_path: Path) -> None:
    variables = {**os.environ, "CALIBRANT_TEMPERATURE": "2.5"}
    command = [sys.executable, "-m", "service", "export", "--to", str(tmp_path / "x.onnx"), "--temperature", "3"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert "temperature 3" in done.stdout


def test_a_reader_that_has_enough_is_no_fault() -> None:
    """As `calibrant evaluate --json | head -1` has it: the pipe is gone before everything is written."""
    command = [sys.executable, "-m", "service", "inspect", "models/softmax/1/model.onnx"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (1, 141)  # rich ends with 1


def test_the_log_tells_of_a_start_and_of_a_stop() -> None:
    with serve("--no-watch") as process:
        code, errors = process.end(signal.SIGTERM)
    assert (code, errors) == (0, "")
    life = [re.sub(r"\d+", "N", line.partition("server: ")[2]) for line in process.logged.splitlines()]
    assert life == [
        "process N serves",
        "SIGTERM: the service drains for N s",
        "process N stops, open connections: N",
        "process N has stopped",
    ]
