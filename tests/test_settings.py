"""Settings: from options, then the environment, then defaults; frozen and checked."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import UsedWrongly
from service.settings import PREFIX, Settings, load


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any of ours."""
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_an_option_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().port == 8000
    monkeypatch.setenv("CALIBRANT_PORT", "1234")
    assert load().port == 1234
    assert load(port=5).port == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("port", "eighty"),
        ("provider", "tpu"),
        ("max_batch_rows", 0),
        ("max_queue_rows", 0),
        ("max_wait_ms", -1),
        ("max_wait_ms", "nan"),
        ("default_timeout_ms", 0),
        ("default_timeout_ms", "inf"),
        ("max_body_bytes", 0),
        ("drain_delay_s", -1),
        ("intra_op_threads", -1),
        ("watch", "perhaps"),
        ("log_level", "loud"),
    ],
)
def test_a_value_out_of_bounds_names_the_option_and_the_variable(name: str, value: Any) -> None:
    with pytest.raises(UsedWrongly) as error:
        load(**{name: value})
    assert str(error.value).startswith(f"--{name.replace('_', '-')} (CALIBRANT_{name.upper()}) is {value!r}; expected ")
    assert "\n" not in str(error.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load().port = 1  # type: ignore[misc]


def test_keys_are_read_from_one_line() -> None:
    assert load(api_keys=" a, b ,,").keys == (b"a", b"b")
    assert load().keys == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_without_keys_nobody_but_this_machine_reaches_the_service_unless_that_is_meant(host: str) -> None:
    with pytest.raises(UsedWrongly) as error:
        load(host=host).check_reach()
    assert str(error.value).startswith(
        f"without API keys everybody who reaches {host or 'this machine'} may ask; expect"
    )
    for meant in ({"insecure": True}, {"api_keys": "secret"}, {"api_keys_file": "keys"}):
        load(host=host, **meant).check_reach()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "nowhere.invalid"])
def test_loopback_needs_no_keys(host: str) -> None:
    load(host=host).check_reach()


@pytest.mark.parametrize(
    ("option", "value"),
    [("label_policy", "matured:72h"), ("journal_sample", 0.5), ("refit", "propose"), ("labels_sampled", False)],
)
def test_an_option_of_the_journal_is_refused_without_one(
    option: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = (
        f"--{option.replace('_', '-')} (CALIBRANT_{option.upper()}) is of no use without a journal; "
        "expected --journal FOLDER, too"
    )
    with pytest.raises(UsedWrongly) as error:
        load(**{option: value}).check_journal()
    assert str(error.value) == sentence
    load(journal="j", **{option: value}).check_journal()
    monkeypatch.setenv(PREFIX + option.upper(), str(value))
    with pytest.raises(UsedWrongly) as error:
        load().check_journal()
    assert str(error.value) == sentence


def test_no_option_of_the_journal_and_empty_variables_are_no_wish_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALIBRANT_JOURNAL_STORE", "")
    load(port=1).check_journal()


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
    assert load(models="x").models == Path("x")
