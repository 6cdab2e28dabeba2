"""Asserts that this is the compiled form: every module that the wheel should have as a library is one."""

import importlib
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES

from tests.conftest import ROOT

hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"][
    "custom"
]
for path in hook["modules"] + hook["libraries"]:
    file = importlib.import_module(path.rpartition(".")[0].replace("/", ".")).__file__
    assert file is not None, path
    assert file.endswith(tuple(EXTENSION_SUFFIXES)), file
