"""`calibrant keys add`: a key that a service accepts, of which the file has no more than the hash."""

from pathlib import Path

import pytest

from service.cli import main
from service.transports.keys import Keys
from tests.api.bodies import until
from tests.processes import serve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the keys will be."""
    return tmp_path / "keys"


def add(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> str:
    """The key that is printed."""
    assert main(["keys", "add", *arguments, "--api-keys-file", str(path)]) == 0
    return capsys.readouterr().out.rstrip("\n")


def test_a_key_is_printed_and_its_hash_kept(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = add(capsys, path, "ci")
    path.write_text(path.read_text().rstrip("\n"))  # as some editors leave it
    second = add(capsys, path, "lab", "--scopes", "label,observe", "--rate", "1000")
    assert len({first, second}) == 2
    assert first.startswith("calibrant_")
    assert len(first) > 50
    assert first not in path.read_text()
    keys = Keys(path=path)
    one, other = (keys.find(f"Bearer {key}".encode()) for key in (first, second))
    assert one
    assert (one.name, sorted(one.scopes), one.rows_per_s) == ("ci", ["predict"], None)
    assert other
    assert (other.name, sorted(other.scopes), other.rows_per_s) == ("lab", ["label", "observe"], 1000)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["ci"], 2, "has a key of the name ci; expected another name, or its line deleted"),
        (["c i"], 2, "NAME is 'c i': the name is wrong; expected at most 64 letters"),
        (["b", "--scopes", "all"], 2, "--scopes is 'all': there is no such scope; expected some of predict, label, "),
        (["b", "--rate", "-1"], 2, "--rate is '-1': the rate is wrong; expected rows a second"),
    ],
)
def test_what_cannot_be_made_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    add(capsys, path, "ci")
    before = path.read_bytes()
    assert main(["keys", "add", *arguments, "--api-keys-file", str(path)]) == code
    assert sentence in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_file_is_wanted_and_a_broken_one_is_left_alone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "add", "ci"]) == 2
    assert "expected --api-keys-file FILE (CALIBRANT_API_KEYS_FILE)" in capsys.readouterr().err
    path.write_text("broken")
    assert main(["keys", "add", "ci", "--api-keys-file", str(path)]) == 3
    assert "line 1 has 1 word" in capsys.readouterr().err
    assert main(["keys", "add", "ci", "--api-keys-file", str(path / "below")]) == 3
    assert capsys.readouterr().err.endswith(
        f"{path / 'below'} cannot take the key: Not a directory; expected a file to write to\n"
    )


def test_a_service_of_several_workers_accepts_a_new_key_and_no_more_one_that_is_gone(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = [{"authorization": f"Bearer {add(capsys, path, name)}"} for name in ("first", "second")]
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first)
    with serve("--workers", "2", "--api-keys-file", path) as process:

        def statuses(header: dict[str, str]) -> set[int]:
            """Of many connections, so that each worker is asked."""
            body = {"logits": [1, 2]}
            more = {**header, "connection": "close"}
            return {process.client.post("/v1/predict", json=body, headers=more).status_code for _ in range(16)}

        assert [statuses(header) for header in headers] == [{200}, {401}]
        path.write_text(second)
        until(lambda: [statuses(header) for header in headers] == [{401}, {200}])
