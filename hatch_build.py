"""Compiles what `pyproject.toml` names, for wheels alone: hot modules by mypyc, beside their source, and one C file.

Off unless HATCH_BUILD_HOOK_ENABLE_CUSTOM=1: a wheel of the source alone needs no compiler, and answers the same.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledModules(BuildHookInterface[Any]):
    """The hook that hatchling calls before it packs a wheel, and behind that."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the libraries packed; an editable install stays as it is."""
        if version == "editable":
            return
        self.folder = TemporaryDirectory()
        built = Path(self.folder.name)
        for library in build(self.config["modules"], self.config["libraries"], built):
            build_data["force_include"][str(library)] = str(library.relative_to(built / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - as hatchling calls it
        """Remove what is packed now."""
        if version != "editable":
            self.folder.cleanup()


def build(modules: list[str], libraries: list[str], folder: Path) -> list[Path]:
    """The libraries below `folder`/lib, where they belong in the wheel; `modules` are Python, `libraries` C."""
    from mypyc.build import mypycify  # here: a wheel of the source is built without them
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extensions = (
        mypycify(modules, group_name="calibrant", target_dir=str(folder / "c"), debug_level="0") if modules else []
    )
    for path in libraries:
        name = path.removesuffix(".c").replace("/", ".")
        extensions.append(Extension(name, [path], extra_compile_args=["-O3"], py_limited_api=True))
    command = build_ext(Distribution({"name": "calibrant", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    return sorted((folder / "lib").rglob("*.so"))
