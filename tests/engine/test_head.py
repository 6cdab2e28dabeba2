"""Heads in memory: what loads, what does not, and the identities that every answer keeps."""

import os
import sys
from array import array
from base64 import b64encode
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from service import families
from service.engine.binding import run_with_binding
from service.engine.feed import build_feed
from service.engine.head import MAX_BOUND, Head
from service.engine.reading import NEEDED
from service.engine.rows import Rows
from service.engine.session import choose_provider, n_cpus
from service.engine.single import Row
from service.engine.warm_up import ALL_OUTPUTS
from service.errors import CannotStart, HeadError, RunFailed
from service.families import SOFTMAX
from service.families.outputs import GRAPH_OUTPUTS, graph_bits
from service.heads.build import build, graph_without_logsumexp, short_graph
from service.heads.entropy import EntropyTemperature
from service.heads.members import Average, Members
from service.heads.publish import write
from service.heads.stages import Stages
from service.heads.top import TopLabel
from service.metadata import NO_LOGSUMEXP_KEY, SHORT_KEY, Metadata
from tests.conftest import ROOT
from tests.heads_made import foreign, head

SHIPPED = ROOT / "models" / "softmax" / "1" / "model.onnx"
GENERIC = Head(SHIPPED)
DIGITS = Head(ROOT / "models" / "digits" / "1" / "model.onnx")
PROBABILITIES = graph_bits(("probabilities",))

float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
logit = st.one_of(st.floats(-30, 30, width=32), float32, st.just(-np.inf))
temperature = st.one_of(st.floats(0.05, 20), st.floats(1e-300, 1e300))


@st.composite
def rows(draw: Any, *, most: int = 4) -> Rows:
    """A few rows with masks and temperatures."""
    n, k = draw(st.integers(1, most)), draw(st.integers(1, 7))
    logits = draw(st.lists(st.lists(logit, min_size=k, max_size=k), min_size=n, max_size=n))
    mask = draw(st.none() | st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=n, max_size=n))
    t = draw(st.none() | temperature | st.lists(temperature, min_size=n, max_size=n))
    return Rows.from_logits(
        np.array(logits),
        None if mask is None else np.array(mask),
        np.array(t)[:, np.newaxis] if isinstance(t, list) else t,
    )


def run(*many: Rows) -> dict[str, Any]:
    """All outputs of the shipped head for a batch."""
    return GENERIC.run(build_feed(many, GENERIC.temperature), ALL_OUTPUTS)


@settings(max_examples=300)
@given(rows())
def test_probabilities_add_up_to_one_and_masked_classes_are_zero(given_rows: Rows) -> None:
    p, log_p = (run(given_rows)[name] for name in GRAPH_OUTPUTS[:2])
    out = np.isneginf(given_rows.inputs["logits"])
    full = ~out.all(axis=1)
    assert np.abs(p[full].astype(np.float64).sum(axis=1) - 1).max(initial=0) < 1e-6
    assert (p[out] == 0).all()
    assert np.isneginf(log_p[out]).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert (log_p <= 0).all()  # and so no NaN


@settings(max_examples=300)
@given(rows())
def test_no_output_is_ever_nan(given_rows: Rows) -> None:
    outputs = run(given_rows)
    for name, values in outputs.items():
        assert not np.isnan(values).any(), name
    assert not np.isnan(SOFTMAX.entropy(outputs)).any()


@pytest.mark.parametrize("k", [1, 2, 10, 1000, 100_000])
@pytest.mark.parametrize("scale", [0.01, 1, 30, 1000])
def test_a_row_of_any_width_is_right_to_the_last_digit(k: int, scale: float) -> None:
    logits = (np.random.default_rng(k).standard_normal((3, k)) * scale).astype(np.float32)
    outputs = run(Rows({"logits": logits}))
    expected = log_softmax(logits.astype(np.float64), axis=1)
    p = outputs["probabilities"].astype(np.float64)
    assert np.abs(p.sum(axis=1) - 1).max() < 1e-6
    error = np.abs(outputs["log_probabilities"] - expected)
    assert (error <= 4e-6 * np.maximum(1, np.abs(expected))).all()
    usual = expected > -80
    assert np.abs(p[usual] / np.exp(expected[usual]) - 1).max() < 1e-7
    assert error[expected > -32].max(initial=0) <= 4e-6


@settings(max_examples=200)
@given(st.lists(st.floats(-15, 15, width=32), min_size=1, max_size=20), st.floats(0.5, 20))
def test_log_probabilities_are_those_of_a_float64_reference(logits: list[float], t: float) -> None:
    outputs = run(Rows.from_logits(np.array([logits]), None, t))
    reference = log_softmax(np.array(logits) / t)
    assert np.abs(outputs["log_probabilities"][0] - reference).max() <= 4e-6
    assert np.abs(outputs["probabilities"][0] - np.exp(reference)).max() <= 1e-7


@settings(max_examples=200)
@given(rows(most=1), temperature)
@example(Rows.from_logits(np.array([[1.0, 1.0000001, 0.9999999]])), 1e300)
def test_a_temperature_leaves_the_ranking(given_rows: Rows, t: float) -> None:
    plain = run(Rows(given_rows.inputs, None, 1.0))
    warm = run(Rows(given_rows.inputs, None, t))
    assert SOFTMAX.prediction(plain).tolist() == SOFTMAX.prediction(warm).tolist()
    assert [best.tolist() for best in SOFTMAX.top(plain, 5)] == [best.tolist() for best in SOFTMAX.top(warm, 5)]
    ranked = warm["probabilities"][0][SOFTMAX.top(plain, 9)[0]]
    assert (np.diff(ranked) <= 0).all()


@settings(max_examples=200)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=9), st.integers(-(2**20), 2**20))
def test_a_shift_changes_nothing(logits: list[int], shift: int) -> None:
    plain, shifted = (run(Rows.from_logits(np.array([logits], np.float64) + s)) for s in (0, shift))
    for name in ("probabilities", "log_probabilities", "scores"):
        assert plain[name].tobytes() == shifted[name].tobytes(), name


@settings(max_examples=200)
@given(st.integers(1, 40), st.integers(1, 30), st.data())
def test_a_batch_of_parts_is_the_parts_of_a_batch_to_the_bit(n: int, k: int, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    logits = random.standard_normal((n, k)) * 10
    mask = random.random((n, k)) < 0.8 if data.draw(st.booleans()) else None
    whole = Rows.from_logits(logits, mask, random.uniform(0.1, 9, (n, 1)) if data.draw(st.booleans()) else None)
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=4)) if n > 1 else []), n]
    parts = [run(whole.part(a, b)) for a, b in pairwise(cuts)]
    for name, values in run(whole).items():
        assert values.tobytes() == b"".join(part[name].tobytes() for part in parts), name


def test_plain_onnxruntime_with_only_logits_gives_the_same_bits() -> None:
    logits = np.random.default_rng(1).standard_normal((5, 11)).astype(np.float32)
    session = ort.InferenceSession(SHIPPED, providers=["CPUExecutionProvider"])
    plain = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"logits": logits}), strict=True))
    for name, values in run(Rows({"logits": logits})).items():
        assert values.tobytes() == plain[name].tobytes(), name


def test_only_what_is_asked_for_is_answered() -> None:
    assert GENERIC.run({"logits": np.zeros((2, 3), np.float32)}, 0b10).keys() == {"log_probabilities"}


def test_a_head_says_what_it_is(tmp_path: Path) -> None:
    mine = Head(head(tmp_path / "mine.onnx", 2.5, labels=["a", "b"]))
    assert (mine.signature.classes, mine.signature.labels, mine.temperature) == (2, ("a", "b"), 2.5)
    assert mine.provider == "cpu"
    assert (mine.signature.family.name, mine.signature.takes) == ("softmax", "logits")
    assert mine.signature.inputs == {"logits": (np.float32, (2,))}
    assert repr(mine).endswith("K=2 T=2.5 on cpu>")
    assert repr(GENERIC).endswith("K=any T=1 on cpu>")


def test_a_run_that_onnxruntime_refuses_is_a_failed_run() -> None:
    with pytest.raises(RunFailed, match="the head could not run"):
        GENERIC.run({"logits": np.zeros((2, 3))}, 1)


@pytest.mark.parametrize("k", [49, 50, 333, 1000])
def test_a_wide_row_that_is_run_alone_gets_the_bits_of_any_batch(k: int) -> None:
    random = np.random.default_rng(k)
    for allowed in (None, random.random(k) < 0.8, random.random(k) < 0.1, np.zeros(k, bool)):
        logits = (4 * random.standard_normal(k)).astype(np.float32)
        row = Row(logits.tobytes(), None if allowed is None else allowed.tobytes(), 1.7, ())
        batch = GENERIC.run(build_feed([row, row], 1.0), PROBABILITIES)["probabilities"]
        assert GENERIC.run_alone(row, PROBABILITIES)["probabilities"].tobytes() == batch[:1].tobytes()
        assert batch[0].any() == (allowed is None or allowed.any())


@settings(max_examples=300)
@given(st.sampled_from([GENERIC, None]), st.integers(1, 9), st.data())
def test_a_row_that_is_run_alone_gets_the_bits_of_any_batch(head: Head | None, k: int, data: st.DataObject) -> None:
    head, k = (head, k) if head else (DIGITS, 10)
    finite = st.floats(-(2.0**120), 2.0**120, width=32)
    numbers = data.draw(st.lists(finite, min_size=k, max_size=k))
    allowed = data.draw(st.none() | st.lists(st.booleans(), min_size=k, max_size=k))
    row = Row(
        array("f", numbers).tobytes(),
        None if allowed is None else bytes(allowed),
        data.draw(st.none() | temperature),
        (),
    )
    others = [
        Row(array("f", [1.0] * k).tobytes(), None, 2.0, ()),
        Row(array("f", [0.5] * k).tobytes(), bytes(k), None, ()),
    ]
    batch = head.run(build_feed([row, *others], head.temperature), PROBABILITIES)["probabilities"]
    alone = head.run_alone(row, PROBABILITIES)["probabilities"]
    assert alone.shape == (1, k)
    assert alone.tobytes() == batch[:1].tobytes()
    among = head.run_alone(row, ALL_OUTPUTS)
    assert among.keys() == NEEDED
    assert among["probabilities"].tobytes() == alone.tobytes()


TOP = TopLabel(-0.3, (0.6, 1.5, 0.2), (-0.5, 1.2))
KINDS = {
    "plain": Stages(1.7),
    "laplace": Stages(1.7, laplace=0.1),
    "groups": Stages(1.7, group_temperatures=np.array([3.0])),
    "bias": Stages(0.6, np.linspace(-1, 1, 5), masks_first=True),
    "scale": Stages(1.0, scale=np.linspace(0.5, 2, 5), masks_first=True),
    "matrix": Stages(1.0, matrix=np.eye(5) + 0.1, log_input=1.3, masks_first=True),
    "entropy": Stages(1.0, entropy=EntropyTemperature(0.1, 0.4, -1.0, 2.0, 1e-6, 5.0), masks_first=True),
    "top": Stages(1.7, top=TOP),
    "laplace top": Stages(1.7, laplace=0.1, top=TOP),
    "matrix top": Stages(1.0, matrix=np.eye(5) + 0.1, top=TOP, masks_first=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_any_kind_of_head_gets_the_same_bits_alone(kind: str, tmp_path: Path) -> None:
    mine = Head(write(build(KINDS[kind], 5, Metadata(classes=5)), tmp_path / "model.onnx"))
    assert mine.metadata.masks_first
    assert mine.short is not mine.session
    random = np.random.default_rng(0)
    rows = [
        Row(array("f", random.standard_normal(5).tolist()).tobytes(), allowed, t, ())
        for allowed in (None, b"\1\0\1\1\0", bytes(5), b"\0\1\0\0\0")
        for t in (None, 0.3)
    ]
    batch = mine.run(build_feed(rows, mine.temperature), PROBABILITIES)["probabilities"]
    alone = [mine.run_alone(row, PROBABILITIES)["probabilities"].tobytes() for row in rows]
    assert alone == [row.tobytes() for row in batch]
    whole = mine.run(build_feed(rows, mine.temperature), ALL_OUTPUTS)["probabilities"]
    assert whole.tobytes() == batch.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_take_the_short_graph_but_for_a_temperature_that_it_does_not_take(
    kind: str, tmp_path: Path
) -> None:
    mine = Head(write(build(KINDS[kind], 5, Metadata(classes=5)), tmp_path / "model.onnx"))
    takes = "top" not in kind.split()
    for t, short in ((0.3, takes), (None, True)):
        row = Row(array("f", np.arange(5.0).tolist()).tobytes(), None, t, ())
        found = mine.short_for(build_feed([row, row], mine.temperature), PROBABILITIES)
        assert found is (mine.short if short else None)
        mine.run_alone(row, PROBABILITIES)
        assert bool(mine.bound) == short
    masked = {"logits": np.zeros((1, 5), np.float32), "mask": np.ones((1, 5), bool)}
    assert mine.short_for(masked, PROBABILITIES) is None


@pytest.mark.parametrize("k", [1, 2, 7, 10, 101, 1000])
def test_probabilities_alone_are_the_probabilities_among_others(k: int) -> None:
    random = np.random.default_rng(k)
    feed = {
        "logits": (4 * random.standard_normal((5, k))).astype(np.float32),
        "mask": random.random((5, k)) < 0.7,
        "temperature": random.uniform(0.2, 5, (5, 1)),
    }
    for given_feed in (feed, {name: feed[name] for name in ("logits", "temperature")}):
        alone = GENERIC.run(given_feed, PROBABILITIES)["probabilities"]
        among = GENERIC.run(given_feed, graph_bits(("probabilities", "entropy", "prediction")))["probabilities"]
        assert alone.tobytes() == among.tobytes()


def with_short_graph(source: Path, path: Path, text: str | None, key: str = SHORT_KEY) -> Path:
    """A copy of a head with another text in the place of its short graph, or with none."""
    model = onnx.load(source)
    props = {prop.key: prop.value for prop in model.metadata_props}
    assert props.pop(key)
    onnx.helper.set_model_props(model, props if text is None else props | {key: text})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_head_without_a_short_graph_answers_the_same_bits(kind: str | None, tmp_path: Path) -> None:
    k = 7 if kind is None else 5
    path = SHIPPED if kind is None else write(build(KINDS[kind], k, Metadata(classes=k)), tmp_path / "with.onnx")
    mine, plain = Head(path), Head(with_short_graph(path, tmp_path / "without.onnx", None))
    assert mine.short is not mine.session
    assert plain.short is plain.session
    random = np.random.default_rng(0)
    for allowed in (None, random.random(k) < 0.6, np.zeros(k, bool)):
        mask = None if allowed is None else allowed.tobytes()
        row = Row(array("f", random.standard_normal(k).tolist()).tobytes(), mask, 0.4, ())
        many = Rows.from_logits(random.standard_normal((9, k)), None if allowed is None else np.tile(allowed, (9, 1)))
        for rows, bits in ((row, PROBABILITIES), (many, PROBABILITIES), (row, ALL_OUTPUTS), (many, ALL_OUTPUTS)):
            answers = [
                (head.run_alone(rows, bits), head.run(build_feed([rows, rows], head.temperature), bits))
                for head in (mine, plain)
            ]
            for one, two in zip(*answers, strict=True):
                assert [one[name].tobytes() for name in one] == [two[name].tobytes() for name in two]


FAMILIES = ["sigmoid", "sparsemax", "entmax15", "entmax"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", [None, 7])
def test_what_needs_no_logsumexp_is_run_without_it_to_the_same_bits(family: str, k: int | None, tmp_path: Path) -> None:
    stages = Stages(1.3, family=families.find_family(family, 1.25 if family == "entmax" else None))
    path = write(build(stages, k, Metadata()), tmp_path / "with.onnx")
    mine = Head(path)
    plain = Head(with_short_graph(path, tmp_path / "without.onnx", None, NO_LOGSUMEXP_KEY))
    assert mine.without_logsumexp is not mine.session
    assert plain.without_logsumexp is plain.session
    random = np.random.default_rng(0)
    mask = random.random((9, 7)) < 0.6
    for allowed, t in ((None, None), (mask, 0.4), (np.zeros((9, 7), bool), None)):
        rows = Rows.from_logits(3 * random.standard_normal((9, 7)), allowed, t)
        for bits in range(1, ALL_OUTPUTS + 1):
            one, two = (head.run(build_feed([rows], head.temperature), bits) for head in (mine, plain))
            assert [(name, one[name].tobytes()) for name in one] == [(name, two[name].tobytes()) for name in two]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_without_logsumexp_neither_masks_nor_pads(family: str) -> None:
    stages = Stages(1.3, family=families.find_family(family, 1.25 if family == "entmax" else None))
    graph = graph_without_logsumexp(build(stages, None, Metadata())).graph
    assert [entry.name for entry in graph.input] == ["logits", "temperature"]
    assert "Pad" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_members_are_averaged_without_logsumexp_to_the_same_bits(average: Average, tmp_path: Path) -> None:
    stages = Stages(members=Members(average), family=families.find_family("sparsemax"))
    path = write(build(stages, None, Metadata()), tmp_path / "with.onnx")
    mine, plain = Head(path), Head(with_short_graph(path, tmp_path / "without.onnx", None, NO_LOGSUMEXP_KEY))
    feed = {"logits": np.random.default_rng(0).standard_normal((4, 3, 7)).astype(np.float32)}
    bits = mine.signature.bits(("log_probabilities", "prediction", "mutual_information"))
    assert mine.short_for(feed, bits) is mine.without_logsumexp is not mine.session
    one, two = mine.run(feed, bits), plain.run(feed, bits)
    assert [(name, one[name].tobytes()) for name in one] == [(name, two[name].tobytes()) for name in two]


def test_a_graph_without_logsumexp_that_is_none_is_refused(tmp_path: Path) -> None:
    sparsemax = Stages(family=families.find_family("sparsemax"))
    path = write(build(sparsemax, 5, Metadata()), tmp_path / "model.onnx")
    biased = build(replace(sparsemax, bias=np.arange(5.0)), 5, Metadata())
    for cut, sentence in (
        (short_graph(biased), "that cannot run"),
        (graph_without_logsumexp(biased), "with other probabilities than its whole one"),
    ):
        text = b64encode(cut.SerializeToString()).decode()
        with pytest.raises(HeadError, match=f"has a short graph {sentence}"):
            Head(with_short_graph(path, tmp_path / "other.onnx", text, NO_LOGSUMEXP_KEY))


def garbled(what: str, tmp_path: Path) -> str:
    """What no short graph of the digits' head is."""
    if what == "no base64":
        return "no base64!"
    if what == "nothing":
        return ""
    if what == "no model":
        return b64encode(b"hello\n" * 9).decode()
    if what == "foreign":
        return b64encode(foreign(tmp_path / "foreign.onnx", names=["probabilities"]).read_bytes()).decode()
    k, stages = {"of other classes": (7, Stages()), "of another head": (10, Stages(bias=np.arange(10.0)))}[what]
    return b64encode(short_graph(build(stages, k, Metadata())).SerializeToString()).decode()


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("no base64", "has a short graph that cannot be loaded"),
        ("nothing", "has a short graph that cannot be loaded"),
        ("no model", "has a short graph that cannot be loaded"),
        ("foreign", "has a short graph that cannot run"),
        ("of other classes", "has a short graph that cannot run"),
        ("of another head", "has a short graph with other probabilities than its whole one"),
    ],
)
def test_a_short_graph_that_is_none_is_refused_in_one_sentence(tmp_path: Path, what: str, sentence: str) -> None:
    path = with_short_graph(DIGITS.path, tmp_path / "model.onnx", garbled(what, tmp_path))
    with pytest.raises(HeadError) as error:
        Head(path)
    assert str(error.value) == f"{path} {sentence}: make the file again with `calibrant export`"


def test_rows_that_are_run_alone_get_the_bits_of_any_batch() -> None:
    rows = Rows.from_logits(np.random.default_rng(0).standard_normal((3, 7)))
    alone = GENERIC.run_alone(rows, PROBABILITIES)["probabilities"]
    assert alone.tobytes() == run(rows)["probabilities"].tobytes()


@pytest.mark.parametrize("names", [("probabilities",), GRAPH_OUTPUTS[:-1]])
@pytest.mark.parametrize("with_all", [False, True])
def test_bound_inputs_and_outputs_get_the_same_bits(names: tuple[str, ...], with_all: bool) -> None:
    # as on a GPU: there inputs and outputs are bound, those with a default, too
    random = np.random.default_rng(0)
    feed: dict[str, Any] = {"logits": random.standard_normal((3, 14)).astype(np.float32)[:, ::2]}
    if with_all:
        feed |= {"temperature": random.uniform(0.2, 5, (3, 1)), "mask": random.random((3, 7)) < 0.7}
    bound = run_with_binding(GENERIC.session, names, feed, GENERIC.run_options)
    plain = GENERIC.run(feed, graph_bits(("entropy", "logsumexp", "prediction")))
    assert [values.tobytes() for values in bound] == [plain[name].tobytes() for name in names]


def test_buffers_are_kept_for_so_many_widths_and_no_more() -> None:
    fresh = Head(SHIPPED)
    for k in [*range(1, MAX_BOUND + 3), 1]:
        row = Row(array("f", [0.0] * k).tobytes(), None, None, ())
        assert fresh.run_alone(row, PROBABILITIES)["probabilities"].tolist() == [[np.float32(1 / k)] * k]
        assert k in fresh.bound
        assert len(fresh.bound) <= MAX_BOUND


def test_a_row_of_another_width_than_the_heads_is_a_failed_run() -> None:
    with pytest.raises(RunFailed, match="the head could not run"):
        DIGITS.run_alone(Row(array("f", [0.0] * 3).tobytes(), None, None, ()), PROBABILITIES)


def test_the_cost_of_a_run_is_measured() -> None:
    assert GENERIC.cost_s(0) == GENERIC.seconds_per_run >= 0
    assert GENERIC.cost_s(10**9) > GENERIC.cost_s(1)


def made(tmp_path: Path, what: str) -> Path:
    """A file that is no head."""
    path = tmp_path / "model.onnx"
    good = SHIPPED.read_bytes()
    story = {"calibrant": "{}"}
    if what == "foreign":
        return foreign(path)
    if what == "broken story":
        return foreign(path, props={"calibrant": "{"})
    if what == "wrong story":
        return foreign(path, props={"calibrant": '{"classes":"many"}'})
    if what == "missing outputs":
        return foreign(path, props=story)
    if what == "fixed batch":
        return foreign(path, n=1, props=story, names=GRAPH_OUTPUTS)
    if what == "unknown family":
        return foreign(path, props={"calibrant": '{"family":"hyperbolic"}'}, names=GRAPH_OUTPUTS)
    if what == "other classes":
        return foreign(path, props={"calibrant": '{"classes":3}'}, names=GRAPH_OUTPUTS)
    path.write_bytes({"empty": b"", "text": b"hello\n" * 9, "truncated": good[: len(good) // 2]}[what])
    return path


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("empty", "is not an ONNX model that can be loaded (it holds no graph): make it with"),
        ("text", "is not an ONNX model that can be loaded (it is damaged, or of another format): make it with"),
        ("truncated", "is not an ONNX model that can be loaded (it is damaged, or of another format): make it with"),
        ("foreign", "has no Calibrant metadata: make it with `calibrant export`"),
        ("broken story", "has metadata that cannot be read"),
        ("wrong story", "has metadata that cannot be read, classes: "),
        ("missing outputs", "has no output log_probabilities, logsumexp, probabilities, scores"),
        ("fixed batch", "cannot run 2 rows, its batch dimension is fixed at 1: export it again"),
        ("unknown family", f"the family 'hyperbolic' is unknown; expected {', '.join(families.FAMILIES)}"),
        ("other classes", "has 4 classes in its graph and 3 classes in its metadata"),
    ],
)
def test_what_is_no_head_is_refused_in_one_sentence(tmp_path: Path, what: str, sentence: str) -> None:
    path = made(tmp_path, what)
    with pytest.raises(HeadError) as error:
        Head(path)
    assert str(error.value).startswith(f"{path} ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_the_kind_classifier_takes_the_inputs_of_its_graph(tmp_path: Path) -> None:
    """So files were written before what is computed was apart from what a request brings."""
    path = foreign(tmp_path / "model.onnx", props={"calibrant": '{"kind":"classifier"}'}, names=GRAPH_OUTPUTS)
    signature = Head(path).signature
    assert (signature.family.name, signature.takes, signature.classes) == ("softmax", "inputs", 4)
    assert signature.inputs == {"x": (np.float32, (4,))}


def test_a_folder_is_no_head(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="is not a file"):
        Head(tmp_path)


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_cuda_that_is_not_there_is_never_replaced_silently(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CannotStart, match="cuda was asked for, but this ONNX Runtime has none"):
        Head(SHIPPED, provider="cuda")
    assert choose_provider("auto") == "cpu"
    with caplog.at_level("INFO"):
        assert Head(SHIPPED, provider="auto").provider == "cpu"
    assert f"provider auto: {SHIPPED} runs on cpu" in caplog.text


def test_a_provider_that_is_given_but_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: there)

    class OnCPU:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return there[1:]

    monkeypatch.setattr(ort, "InferenceSession", OnCPU)
    with pytest.raises(CannotStart, match="provider cuda was asked for, but ONNX Runtime gave CPUExecutionProvider"):
        Head(SHIPPED, provider="cuda")


def test_the_cpus_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert n_cpus() >= 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, n in (("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)):
        monkeypatch.setattr(Path, "read_text", lambda _, quota=quota: quota)
        assert n_cpus() == n
    monkeypatch.setattr(Path, "read_text", lambda _: open("/nowhere"))  # noqa: SIM115 - raises
    assert n_cpus() == 8


def test_onnxruntime_does_not_report_home() -> None:
    assert "onnxruntime" in sys.modules
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
