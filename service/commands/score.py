"""Put whole files through a head: what the service would answer, row by row, as a table.

For example:
  calibrant score --model digits --data rows.parquet --output scored.parquet
  calibrant score --model shop/3 --data 'logs/*.csv' --output scored/ --outputs prediction,confidence --top-k 3
  calibrant score --model head.onnx --data rows.npz --output scored.csv --alpha 0.1

The data are files, folders or patterns: .parquet, .csv with a header, or .npz with `logits`. Columns that are not
logits are passed through. A head behind a classifier takes the classifier's inputs instead. The output is one file, or
a folder of parts where it is named without a suffix. What is finished stays: the same command goes on from there.
"""

import glob
import json
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from service.commands import data_options, model_files
from service.errors import CannotStart, UsedWrongly, count

if TYPE_CHECKING:
    from service.scoring.job import Outcome
    from service.scoring.options import Options

SUFFIXES: Final = (".npz", ".csv", ".parquet")
SENTENCES: Final = {
    "no_class_allowed": "no class is left: probabilities 0, no prediction",
    "looks_like_probabilities": "the logits look like probabilities, in [0, 1] and adding up to 1",
    "unknown_group": "the head does not know the group: they got the common temperature",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of `calibrant score`."""
    model_files.add_arguments(parser)
    parser.add_argument("--data", nargs="+", required=True, metavar="IN", help="files, folders or patterns")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT", help=".parquet, .csv, or a folder")
    parser.add_argument("--format", choices=("parquet", "csv"), help="of the parts in a folder (default: parquet)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, or actors of Ray (default: 1)")
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes here, or actors on the Ray cluster at RAY_ADDRESS (default: local)",
    )
    data_options.add_arguments(parser)
    parser.add_argument("--group", metavar="NAME", help="the column of groups, for a head that has them")
    parser.add_argument(
        "--outputs", default="probabilities", help="what to answer, between commas (default: %(default)s)"
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="add the best K classes")
    parser.add_argument("--alpha", type=float, help="add prediction sets that miss the class in at most this share")
    parser.add_argument("--abstain-below", type=float, metavar="P", help="no prediction where the confidence is lower")
    parser.add_argument("--temperature", type=float, metavar="T", help="in place of the head's own")
    parser.add_argument(
        "--prior", type=Path, metavar="FILE", help="JSON: other class frequencies, as a request's `prior`"
    )
    parser.add_argument(
        "--lists",
        action=BooleanOptionalAction,
        help="one list column instead of a column for each class (default: lists in .parquet, columns in .csv)",
    )
    parser.add_argument("--prefix", default="", metavar="TEXT", help="before the names of the columns that are added")


def run(arguments: Namespace) -> int:
    """Score, and say how fast that was.

    Raises:
        UsedWrongly: options or data that cannot be meant.
        CannotStart: a package is not installed, or a file cannot be read or written.
    """
    if find_spec("pyarrow") is None:
        raise CannotStart("the package pyarrow is not installed: pip install 'calibrant[tables]'")
    if arguments.engine == "ray" and find_spec("ray") is None:
        raise CannotStart("the package ray is not installed: pip install 'calibrant[ray]'")
    from service.commands.row_progress import show_rows
    from service.scoring import job, workers
    from service.scoring.parts import Folder
    from service.scoring.scorer import Scorer

    options = read_options(arguments)
    if arguments.jobs < 1:
        raise UsedWrongly(f"--jobs is {arguments.jobs}; expected 1 or more")
    output: Path = arguments.output
    single = bool(output.suffix)
    if single and output.exists() and not arguments.overwrite:
        raise UsedWrongly(f"{output} is there already; expected another --output, or --overwrite")
    started = time.perf_counter()
    scorer = Scorer(options)
    plan = job.make_plan(list_files(arguments.data), scorer)
    place = output.with_name(f"{output.name}.parts") if single else output
    folder = Folder(place, options.format, job.manifest(plan, options), overwrite=single or arguments.overwrite)
    with show_rows(plan.n_rows) as report:
        outcome = workers.run(plan, scorer, folder, arguments.jobs, report, arguments.engine)
        if single:
            folder.join(output)
    show(output, outcome, time.perf_counter() - started)
    return 0


def read_options(arguments: Namespace) -> "Options":
    """What the command line says, as one value."""
    from service.scoring.options import Options

    form: Any = arguments.output.suffix.removeprefix(".") or arguments.format or "parquet"
    if form not in ("parquet", "csv") or arguments.format not in (None, form):
        raise UsedWrongly(f"--output is {arguments.output}; expected a name with .parquet or .csv, or a folder")
    request: dict[str, Any] = {"outputs": arguments.outputs.split(",")}
    for name in ("top_k", "alpha", "abstain_below", "temperature"):
        if (value := getattr(arguments, name)) is not None:
            request[name] = value
    if arguments.prior is not None:
        request["prior"] = read_json(arguments.prior)
    lists = form == "parquet" if arguments.lists is None else arguments.lists
    if lists and form == "csv":
        raise UsedWrongly("a .csv has no lists; expected --no-lists, or .parquet")
    return Options(
        model=model_files.find_file(arguments.model, arguments.models),
        request=request,
        group=arguments.group,
        **data_options.chosen(arguments),
        format=form,
        lists=lists,
        prefix=arguments.prefix,
    )


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise CannotStart(f"--prior: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsedWrongly(f"--prior: {path} is not JSON: {error}") from error


def list_files(given: list[str]) -> list[Path]:
    """The files behind names, folders and patterns, each once, in their order.

    Raises:
        CannotStart: nothing behind one of them.
    """
    found: dict[Path, None] = {}
    for name in given:
        path = Path(name)
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if is_data(file, path)]
        else:
            inside = [path] if path.exists() else [Path(file) for file in sorted(glob.glob(name, recursive=True))]
        if not inside:
            raise CannotStart(
                f"there is no file {name}; expected {', '.join(SUFFIXES)}, a folder of them, or a pattern"
            )
        found |= dict.fromkeys(inside)
    return list(found)


def is_data(file: Path, folder: Path) -> bool:
    """Whether it is one of the files of a folder; what begins with a dot or an underscore is somebody's notes."""
    return file.suffix in SUFFIXES and not any(part[0] in "._" for part in file.relative_to(folder).parts)


def show(output: Path, outcome: "Outcome", seconds: float) -> None:
    """What was done, and what was odd."""
    from rich.console import Console

    console, errors = (Console(stderr=where, highlight=False, soft_wrap=True) for where in (False, True))
    rate = f"{outcome.n_written / seconds:,.0f} rows a second"
    kept = f", {count(outcome.n_kept, 'row', form=',')} had been written before" if outcome.n_kept else ""
    console.print(
        f"wrote {output}: {count(outcome.n_written, 'row', form=',')} in {seconds:.1f} s, {rate}{kept}", markup=False
    )
    for code, n in outcome.warnings.items():
        errors.print(f"warning: {count(n, 'row', form=',')}: {SENTENCES[code]}", markup=False)
