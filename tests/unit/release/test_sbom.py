"""The bill of materials of the environment that the tests run in, against what pyproject.toml asks for."""

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from release import sbom
from vaylix_resp import __version__

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def bill():
    return sbom.bill()


def test_every_dependency_is_in_it_with_a_version_and_a_licence(bill):
    found = {one["name"].lower(): one for one in bill["components"]}
    for requirement in PROJECT["dependencies"]:
        one = found[re.match(r"[\w.-]+", requirement)[0].lower()]
        assert re.fullmatch(r"\d[\w.]*", one["version"]) and one["licenses"]
        assert one["purl"] == f"pkg:pypi/{one['name'].lower().replace('_', '-')}@{one['version']}" == one["bom-ref"]
    assert "cffi" in found, "what a dependency needs is a dependency"
    assert not {"pytest", "ruff", "setuptools"} & set(found), "what tests and builds need is not shipped"


def test_the_graph_has_every_component_and_nothing_else(bill):
    refs = {one["bom-ref"] for one in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    python = next(ref for ref in refs if ref.startswith("pkg:generic/python@"))
    assert {row["ref"] for row in bill["dependencies"]} == refs - {python}
    assert {below for row in bill["dependencies"] for below in row["dependsOn"]} <= refs
    assert bill["metadata"]["component"] | {"description": ""} == {
        "type": "application", "bom-ref": f"pkg:pypi/vaylix-resp@{__version__}", "name": "vaylix-resp", "description": "",
        "version": __version__, "purl": f"pkg:pypi/vaylix-resp@{__version__}", "licenses": [{"expression": "MIT"}],
    }  # fmt: skip


def test_the_same_environment_gives_the_same_bytes(bill, monkeypatch):
    assert json.dumps(sbom.bill()) == json.dumps(bill) and "timestamp" not in bill["metadata"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    dated = sbom.bill()
    assert dated["metadata"]["timestamp"] == "1970-01-02T00:00:00Z" and dated["serialNumber"] != bill["serialNumber"]


def package(*requires):
    return SimpleNamespace(requires=requires)


@pytest.mark.parametrize("requirement", ["vaylix-nowhere; sys_platform == 'win32'", "pytest>=1; extra == 'test'"])
def test_what_is_not_needed_here_is_left_out(requirement):
    assert list(sbom.needed(package(requirement))) == []


def test_a_dependency_that_is_not_installed_is_an_error():
    with pytest.raises(sbom.PackageNotFoundError):
        list(sbom.needed(package("vaylix-nowhere>=1")))
