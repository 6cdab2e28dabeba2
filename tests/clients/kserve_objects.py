"""KServe's own models of its objects: `python kserve_objects.py`, objects as JSON on the standard input.

Each is built from the classes of the package, which know what exists, of what type it is and what must be there; what
they do not know is an error.
"""

import json
import re
import sys
from typing import Any

import kserve
import kubernetes.client
from pydantic import BaseModel

PLAIN = {"str": str, "int": int, "float": (int, float), "bool": bool, "object": object}
KINDS = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}


def built(kind: str, data: Any, at: str) -> Any:
    """`data` as an object of `kind`, in the notation of the generated classes."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        return [built(inner[1], part, f"{at}[{i}]") for i, part in enumerate(expected(data, list, at))]
    if inner := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {key: built(inner[1], part, f"{at}.{key}") for key, part in expected(data, dict, at).items()}
    if kind in PLAIN:
        return expected(data, PLAIN[kind], at)
    model = getattr(kserve, kind, None) or getattr(kubernetes.client, kind)
    if issubclass(model, BaseModel):  # those of Kubernetes, which forbid what they do not know
        return model.model_validate(data)
    names = {theirs: ours for ours, theirs in model.attribute_map.items()}
    if unknown := expected(data, dict, at).keys() - names.keys():
        raise TypeError(f"{at}: {kind} has no {', '.join(sorted(unknown))}")
    return model(**{names[key]: built(model.openapi_types[names[key]], data[key], f"{at}.{key}") for key in data})


def expected(data: Any, kind: Any, at: str) -> Any:
    """`data`, of that type."""
    if not isinstance(data, kind):
        raise TypeError(f"{at} is {data!r}; expected {kind}")
    return data


for one in json.load(sys.stdin):
    object_ = built(KINDS[one["kind"]], one, one["kind"])
    sys.stdout.write(f"{type(object_).__name__} {object_.metadata.name}\n")
