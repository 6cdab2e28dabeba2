"""The settings: frozen, checked, and the only reader of the environment (`CALIBRANT_*`).

A setting's name is its option (`max_batch_rows` is `--max-batch-rows` and `CALIBRANT_MAX_BATCH_ROWS`); its description
is its line in `calibrant serve --help`.
"""

import os
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import UsedWrongly

PREFIX: Final = "CALIBRANT_"


class Settings(BaseSettings):
    """How to serve. Bounds of the batcher and the queue count rows. Without `repr` are those that may be secret."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=False)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    grpc: int | None = Field(
        None,
        ge=0,
        le=65535,
        title="PORT",
        description="port for the Open Inference Protocol over gRPC, too; 0 takes a free one; needs the extra grpc",
    )
    models: Path = Field(
        Path("models"), description="folder of MODEL/VERSION/model.onnx; for one model VERSION/model.onnx will do"
    )
    default_model: str = Field("softmax", description="the model behind /v1/predict")
    workers: int = Field(1, ge=1, le=1024, description="processes that share the port, each with all heads")
    worker_timeout_s: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="seconds that one of several workers may stand still before another takes its place; 0 any number",
    )
    provider: Literal["cpu", "cuda", "auto"] = Field(
        "cpu", description="where heads run; auto takes cuda where it works and says so"
    )
    intra_op_threads: int = Field(
        1, ge=0, le=1024, description="threads inside one run; 0 takes the CPUs of this process or its cgroup"
    )
    max_batch_rows: int = Field(1024, ge=1, description="most rows in one run")
    max_queue_rows: int = Field(8192, ge=1, description="most rows waiting; anything beyond that gets 429")
    max_wait_ms: float = Field(
        0.0, ge=0, le=60_000, description="how long an idle batcher waits for company, ms; 0 never waits"
    )
    default_timeout_ms: float = Field(
        30_000.0, gt=0, le=3_600_000, description="deadline of a request that names none, ms"
    )
    max_body_bytes: int = Field(
        32 * 2**20, ge=1, description="largest request body, or message over gRPC, packed and unpacked, bytes"
    )
    max_header_bytes: int = Field(16 * 2**10, ge=256, description="largest header section, bytes")
    max_headers: int = Field(100, ge=1, description="most headers of a request, or metadata of a call over gRPC")
    max_url_bytes: int = Field(8 * 2**10, ge=64, description="longest URL, bytes")
    header_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="seconds for the headers to arrive, from the first byte"
    )
    body_timeout_s: float = Field(
        60.0, gt=0, le=3600, description="seconds for the body to arrive over HTTP, from the last header"
    )
    min_bytes_per_s: int = Field(
        1024,
        ge=0,
        title="BYTES",
        description="least bytes a second, over HTTP, of a body that arrives, and of an answer that is read",
    )
    max_connections: int = Field(
        8192, ge=0, description="most connections of a process, over HTTP and over gRPC each; 0 is any number"
    )
    max_connections_per_address: int = Field(
        0,
        ge=0,
        title="CONNECTIONS",
        description="most connections of one address in a process, over HTTP; 0 is any number, as behind a balancer",
    )
    max_requests_per_connection: int = Field(
        0, ge=0, title="REQUESTS", description="requests after which a connection over HTTP is closed; 0 is any number"
    )
    max_json_depth: int = Field(128, ge=8, le=512, description="levels of arrays and objects within each other in JSON")
    max_unpacked_ratio: int = Field(
        200, ge=1, description="bytes that one byte of a compressed body over HTTP may unpack to"
    )
    max_request_memory_mb: int = Field(
        0,
        ge=0,
        description="memory for the requests of a process, MB; 0 takes three quarters of what its cgroup has free",
    )
    api_keys: str = Field(
        "",
        repr=False,
        pattern=r"[^,\s]",
        title="KEY,KEY",
        description="comma-separated keys, one of which a request must carry as a bearer token",
    )
    api_keys_file: Path | None = Field(
        None, title="FILE", description="keys that calibrant keys add made; read again when it changes"
    )
    tls_cert: Path | None = Field(
        None, title="FILE", description="certificate chain for TLS, as PEM; read again when it is renewed"
    )
    tls_key: Path | None = Field(None, title="FILE", description="private key of the certificate, as PEM")
    insecure: bool = Field(False, description="answer without keys on addresses that others reach")
    run_timeout_s: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="seconds for a run of a head, after which its batch fails and the head is served no more; at most "
        "10 where it holds the event loop; 0 never stops one, which may then hold the whole process",
    )
    load_timeout_s: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="seconds for a model file to load and run, tried in a process of its own; 0 tries none",
    )
    load_memory_mb: int = Field(4096, ge=64, description="memory for a model file that is tried, MB")
    max_model_mb: int = Field(2048, ge=1, description="largest model file, MB")
    max_model_nodes: int = Field(8192, ge=1, description="most nodes of a model file, and most constants")
    model_checksums: Path | None = Field(
        None, title="FILE", description="SHA-256 of the model files, as sha256sum writes them; no others are served"
    )
    strict_models: bool = Field(
        False, description="start only if every file loads; else a version may fail beside one of the same model"
    )
    watch: bool = Field(True, description="pick up new, changed and removed model files while running")
    drain_delay_s: float = Field(
        0.0, ge=0, le=3600, description="seconds that /readyz says 503 before the port closes on SIGTERM"
    )
    fast_http: bool = Field(True, description="answer predictions straight from the HTTP parser, without an ASGI task")
    traces: bool = Field(
        False, description="send OpenTelemetry spans over OTLP, as the OTEL_* variables say; needs the extra otel"
    )
    journal: Path | None = Field(
        None,
        title="FOLDER",
        description="folder in which answers are kept until their labels come, for POST /v1/labels and calibrant live",
    )
    journal_store: str = Field(
        "",
        repr=False,
        pattern=r"^postgres(ql)?://",
        title="postgresql://...",
        description="a database that several hosts share, in place of SQLite in the folder; needs the extra postgres",
    )
    journal_what: Literal["logits", "confidence"] = Field(
        "logits", description="what is kept of a row: its logits, or the best class and its probability alone"
    )
    journal_sample: float = Field(
        1.0, gt=0, le=1, description="share of the requests that are kept, chosen by their ids, on every replica alike"
    )
    journal_max_mb: int = Field(
        1024,
        ge=64,  # twice what a tenth of a second may bring: writer.py:MAX_WAITING
        description="most MB of what the live process has not read yet, and of its store; beyond that new rows are "
        "dropped, and the oldest answers",
    )
    journal_hash_ids: str = Field(
        "",
        repr=False,
        title="KEY",
        description="keep of the ids their hashes alone, made with this key; none keeps them as they came",
    )
    console: bool = Field(True, description="serve the pages of /console/")
    journal_keep_days: int = Field(30, ge=1, description="days for which answers and their labels are kept")
    label_policy: str = Field(
        "arrival",
        description="when labels count: arrival, as they come; matured:72h, in the order of the answers once those are "
        "that old; matured:72h:default=LABEL, the same, with a label for those that have got none by then",
    )
    label_wait_s: float = Field(
        600.0, gt=0, le=86_400, description="seconds that a label waits for its answer to be read from the journal"
    )
    ece_bound: float = Field(0.02, gt=0, lt=1, description="calibration error above which the absolute alarm goes off")
    refit: Literal["off", "propose", "promote"] = Field(
        "propose",
        description="at an alarm: do nothing, propose another temperature for approval, or put it in place once it has "
        "earned that",
    )
    labels_sampled: bool = Field(
        False,
        description="labels come for a sample of the answers, chosen without regard to whether they were right: a "
        "refit may rest on fewer than half of them",
    )
    metrics: bool = Field(True, description="count, for /metrics and /v2/models/.../stats")
    access_log: bool = Field(False, description="one log line per request; its time is from headers to answer")
    log_format: Literal["text", "json"] = Field("text", description="how a log line looks")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")

    @field_validator("*", mode="before")
    @classmethod
    def refuse_empty(cls, value: Any) -> Any:
        """Refuse an empty value, which would be a path, the current folder, or a protection that is not there."""
        if isinstance(value, str) and not value.strip():
            raise PydanticCustomError("empty", "is empty")
        return value

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The API keys as bytes; none means open."""
        return tuple(key.strip().encode() for key in self.api_keys.split(",") if key.strip())


OF_JOURNAL: Final = frozenset(
    {"label_policy", "label_wait_s", "ece_bound", "refit", "labels_sampled"}.union(
        name for name in Settings.model_fields if name.startswith("journal_")
    )
)
"""The settings that do nothing without a journal."""


def check_journal(settings: Settings) -> None:
    """Refuse an option of the journal where there is none.

    Raises:
        UsedWrongly: one is given, as an option or as a variable.
    """
    given = sorted(settings.model_fields_set & OF_JOURNAL)
    if given and settings.journal is None:
        raise UsedWrongly(f"{spell(given[0])} does nothing without a journal; expected --journal FOLDER as well")


def spell(name: str) -> str:
    """A setting as an option and as a variable, for people."""
    return f"--{name.replace('_', '-')} ({PREFIX}{name.upper()})"


def load(**options: Any) -> Settings:
    """Settings from the options given, then the environment, then the defaults.

    Raises:
        UsedWrongly: a value is out of bounds or of the wrong kind; the sentence names the option.
    """
    try:
        return Settings(**options)
    except ValidationError as error:
        first = error.errors()[0]
        where = spell(name := str(first["loc"][0]))
        if first["type"] == "empty":
            raise UsedWrongly(f"{where} is empty; expected a value, or neither") from None
        field = Settings.model_fields[name]
        if not field.repr:  # a secret
            fault = f"; expected {field.title}" if "pattern" in first["type"] else f": {first['msg'].lower()}"
            raise UsedWrongly(f"{where} cannot be used{fault}") from None
        wanted = EXPECTED.get(first["type"], "").format_map(first.get("ctx", {}))
        fault = f"; expected {wanted}" if wanted else f": {first['msg'].lower()}"
        raise UsedWrongly(f"{where} is {first['input']!r}{fault}") from error


EXPECTED: Final = {
    "bool_parsing": "true or false",
    "float_parsing": "a number",
    "greater_than": "a number above {gt:.10g}",
    "greater_than_equal": "a number of at least {ge:.10g}",
    "int_parsing": "a whole number",
    "less_than": "a number below {lt:.10g}",
    "less_than_equal": "a number of at most {le:.10g}",
    "literal_error": "{expected}",
}
"""By the types of pydantic's errors, with their numbers."""


def environment(variable: str, default: Any) -> Any:
    """What the environment says of an option that is not a setting of the service.

    Raises:
        UsedWrongly: the variable is empty.
    """
    found = os.environ.get(variable)
    if found is not None and not found.strip():
        raise UsedWrongly(f"{variable} is empty; expected a value, or no such variable")
    return default if found is None else found
