"""Settings: from options, then the environment, then defaults; frozen and checked."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import UsedWrongly
from service.settings import PREFIX, Settings, check_journal, load


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
        ("journal_max_mb", 63),
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


@pytest.mark.parametrize(
    ("option", "value"),
    [("label_policy", "matured:72h"), ("journal_sample", 0.5), ("refit", "propose"), ("labels_sampled", False)],
)
def test_an_option_of_the_journal_is_refused_without_one(
    option: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = (
        f"--{option.replace('_', '-')} (CALIBRANT_{option.upper()}) does nothing without a journal; "
        "expected --journal FOLDER as well"
    )
    with pytest.raises(UsedWrongly) as error:
        check_journal(load(**{option: value}))
    assert str(error.value) == sentence
    check_journal(load(journal="j", **{option: value}))
    monkeypatch.setenv(PREFIX + option.upper(), str(value))
    with pytest.raises(UsedWrongly) as error:
        check_journal(load())
    assert str(error.value) == sentence


def test_without_options_of_the_journal_none_is_needed() -> None:
    check_journal(load(port=1))


@pytest.mark.parametrize("name", ["journal", "models", "api_keys", "api_keys_file", "journal_hash_ids", "grpc", "host"])
def test_an_empty_value_is_an_error_and_neither_the_current_folder_nor_the_default(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = f"--{name.replace('_', '-')} (CALIBRANT_{name.upper()}) is empty; expected a value, or neither"
    with pytest.raises(UsedWrongly) as error:
        load(**{name: " "})
    assert str(error.value) == sentence
    monkeypatch.setenv(PREFIX + name.upper(), "")
    with pytest.raises(UsedWrongly) as error:
        load()
    assert str(error.value) == sentence


@pytest.mark.parametrize("keys", [",", " , ,"])
def test_commas_alone_are_no_keys(keys: str) -> None:
    with pytest.raises(UsedWrongly) as error:
        load(api_keys=keys)
    assert str(error.value) == "--api-keys (CALIBRANT_API_KEYS) cannot be used; expected KEY,KEY"


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
    assert load(models="x").models == Path("x")
