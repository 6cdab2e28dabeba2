"""A score: the plan of what is to be done, and the work on a span of rows. Who does it stands in `workers`."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from service import __version__
from service.errors import DataError
from service.scoring.options import Options
from service.scoring.parts import Folder, Sizes, sha256, write_parts
from service.scoring.scorer import Scorer
from service.scoring.sources import Source, open_source

Report = Callable[[int], None]


class Span(NamedTuple):
    """Rows that one process works off: `rows` as their source counts them, from the part `first` on."""

    file: int
    rows: range
    first: int
    n_rows: int | None


class Plan(NamedTuple):
    """What is to be done.

    n_rows: of all files, about that where one is a .csv.
    """

    files: tuple[Path, ...]
    sizes: Sizes
    spans: tuple[Span, ...]
    n_rows: int


class Outcome(NamedTuple):
    """What was done: rows that were written, rows that an earlier run had written, and odd rows by code."""

    n_written: int
    n_kept: int
    warnings: Counter[str]


def add_up(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of all."""
    warnings: Counter[str] = sum((outcome.warnings for outcome in outcomes), Counter())
    return Outcome(sum(one.n_written for one in outcomes), sum(one.n_kept for one in outcomes), warnings)


def make_plan(files: Sequence[Path], scorer: Scorer) -> Plan:
    """Look at every file.

    Raises:
        DataError: one cannot be read, is not for this head, or has other columns than the first.
    """
    sources = [open_source(file, scorer.signature, scorer.options) for file in files]
    for source in sources[1:]:
        if source.others != sources[0].others:
            raise DataError(
                f"{source.path.name} has the columns {describe(source)}, {files[0].name} has {describe(sources[0])}; "
                "expected the same beside the logits"
            )
    sizes = Sizes.of(max(scorer.signature.classes or 0, *(source.width for source in sources)))
    spans = []
    for i, source in enumerate(sources):
        first = 0
        for rows in source.spans(sizes.part):
            n = source.span_rows(rows)
            spans.append(Span(i, rows, first, n))
            first += -(-(n or 0) // sizes.part)
    n_rows = sum(guess_rows(source) for source in sources)
    return Plan(tuple(files), sizes, tuple(spans), n_rows)


def describe(source: Source) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in source.others) or "none"


def guess_rows(source: Source) -> int:
    """The rows of a source; of a .csv by the length of its first ones."""
    if source.n_rows is not None:
        return source.n_rows
    with source.path.open("rb") as file:
        beginning = file.read(2**16)
    return round(source.path.stat().st_size * beginning.count(b"\n") / max(1, len(beginning)))


def manifest(plan: Plan, options: Options) -> dict[str, Any]:
    """What a score is of: two of the same make the same parts."""
    stats = [(file, file.stat()) for file in plan.files]
    return {
        "version": __version__,
        "model": sha256(options.model),
        "options": options.to_json(),
        "data": [[file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats],
        "rows": list(plan.sizes),
    }


def score_span(span: Span, plan: Plan, scorer: Scorer, folder: Folder, report: Report) -> Outcome:
    """Write the parts of a span that are not there; `report` hears of rows that are.

    Raises:
        DataError: rows that cannot be scored; the parts before stay.
    """
    n_finished = folder.n_finished(span.file, span.first)
    if span.n_rows is None:
        n_finished = max(0, n_finished - 1)  # the last one may be shorter
    n_kept = n_finished * plan.sizes.part
    if span.n_rows is not None:
        n_kept = min(n_kept, span.n_rows)
    report(n_kept)
    if n_kept == span.n_rows:
        return Outcome(0, n_kept, Counter())
    source = open_source(plan.files[span.file], scorer.signature, scorer.options)
    scorer.warnings.clear()

    def batches() -> Iterator[Any]:
        for block in source.blocks(span.rows, n_kept):
            yield from scorer.score(block, source)

    def place(number: int) -> Path:
        return folder.part(span.file, span.first + n_finished + number)

    n_written = write_parts(batches(), plan.sizes, place, report)
    return Outcome(n_written, n_kept, Counter(scorer.warnings))
