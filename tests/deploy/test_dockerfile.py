"""The Dockerfile and what it installs, without building it."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from service import __version__
from tests.conftest import ROOT
from tests.deploy.conftest import Tool

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pins(name: str) -> dict[str, str]:
    """The packages of a lock, and their versions with markers."""
    return dict(re.findall(r"^([\w.-]+)==(.*?) *\\?$", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


def test_the_dockerfile_is_clean(tool: Tool) -> None:
    command = [tool("hadolint"), "--failure-threshold", "style", str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_labelled_with_the_version_of_the_package() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]


def test_the_image_for_gpus_differs_in_onnx_runtime_and_cuda_alone() -> None:
    cpu, cuda = pins("image.txt"), pins("cuda.txt")
    assert len(cpu) > 20
    assert cpu.keys() - cuda.keys() == {"onnxruntime"}
    more = {name for name in cuda.keys() - cpu.keys() if not name.startswith("nvidia-")}
    assert more == {"onnxruntime-gpu"}
    assert {name: cuda[name] for name in cpu if name != "onnxruntime"} == {
        name: cpu[name] for name in cpu if name != "onnxruntime"
    }


def test_every_file_that_is_copied_from_the_context_is_let_in() -> None:
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)]
    assert copied
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
        assert path.split("/")[0] in let_in, path


def test_the_bill_of_materials_lists_what_is_installed(tool: Tool, tmp_path: Path) -> None:
    [options] = set(re.findall(r"&& cyclonedx-py (environment .*) --output-file /opt/calibrant/sbom.json", DOCKERFILE))
    out = tmp_path / "sbom.json"
    command = [tool("cyclonedx-py"), *options.split(), "--output-file", str(out), sys.executable]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    bill = json.loads(out.read_text())
    listed = {one["name"]: one["version"] for one in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX"
    for name in ("calibrant", "onnxruntime", "numpy", "uvicorn"):
        assert listed[name] == version(name)
