"""The story of a head: written, read back, and kept where it is from a later version."""

import json

import pytest

from service.errors import HeadError
from service.metadata import KEY, Metadata


def test_what_is_written_reads_back() -> None:
    story = Metadata(classes=2, labels=("é", '"'), calibrator={"method": "temperature", "temperature": 1 / 3}, n_rows=7)
    assert Metadata.from_props(story.to_props()) == story
    assert story.temperature == 1 / 3


def test_an_empty_story_is_that_of_a_plain_head() -> None:
    story = Metadata.from_props({KEY: "{}"})
    assert (story.family, story.classes, story.labels, story.temperature, story.masks_first) == (
        "softmax",
        None,
        None,
        1,
        True,
    )


def test_what_a_later_version_says_is_kept() -> None:
    story = Metadata.from_props({KEY: '{"mood":"good"}'})
    assert json.loads(story.to_props()[KEY])["mood"] == "good"


def test_a_head_takes_logits_and_computes_a_softmax_unless_it_says_otherwise() -> None:
    story = Metadata.from_props({KEY: "{}"})
    assert (story.family, story.takes) == ("softmax", "logits")


def test_a_file_of_the_kind_classifier_is_a_softmax_that_takes_inputs() -> None:
    """So files were written before what is computed was apart from what a request brings."""
    story = Metadata.from_props({KEY: '{"kind":"classifier","classes":10}'})
    assert (story.family, story.takes, story.classes) == ("softmax", "inputs", 10)
    assert json.loads(story.to_props()[KEY])["family"] == "softmax"
    assert Metadata.from_props(story.to_props()) == story


@pytest.mark.parametrize("takes", ["logits", "inputs"])
def test_what_a_head_takes_is_kept_whatever_its_family(takes: str) -> None:
    story = Metadata.from_props({KEY: f'{{"family":"something else","takes":"{takes}"}}'})
    assert (story.family, story.takes) == ("something else", takes)


@pytest.mark.parametrize(
    ("props", "sentence"),
    [
        ({}, "has no Calibrant metadata: make it with `calibrant export`"),
        ({KEY: ""}, "has metadata that cannot be read, they are not a JSON object"),
        ({KEY: "[]"}, "has metadata that cannot be read, they are not a JSON object"),
        ({KEY: '{"labels":[1]}'}, "has metadata that cannot be read, labels.0: "),
        ({KEY: '{"takes":"words"}'}, "has metadata that cannot be read, takes: "),
    ],
)
def test_what_does_not_read_says_where(props: dict[str, str], sentence: str) -> None:
    with pytest.raises(HeadError) as error:
        Metadata.from_props(props)
    assert str(error.value).startswith(sentence)
