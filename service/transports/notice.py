"""What an operator wants to know of answers that went well: their warnings, and how confident they are."""

from service.codec.query import Query
from service.engine.rows import Arrays
from service.telemetry.tally import SAMPLED, Tally


def notice(query: Query, arrays: Arrays, tally: Tally) -> None:
    """Count the warnings of an answer by code, and take a sample of confidences: the first row of a few answers."""
    rows, groups = query.rows, query.groups
    if rows.looks_like_probabilities:
        tally.warned["looks_like_probabilities"] += 1
    if rows.empty:
        tally.warned["no_class_allowed"] += 1
    if groups is not None and not groups.all():
        tally.warned["unknown_group"] += 1
    if len(tally.confidences) < SAMPLED and "probabilities" in arrays:
        tally.confidences.append(float(arrays["probabilities"][0].max()))
