"""`python -m release.sbom FILE`: what is installed in this environment, as a bill of materials in CycloneDX JSON.

Read from the metadata that pip left, by nothing but the standard library: the image that it describes is built without
further packages from elsewhere. Components are the packages that vaylix-resp needs, directly or not, and the
interpreter; what the base image brings (Debian's packages) is for a scanner of images.
Promise: the same environment gives the same bytes; the time is SOURCE_DATE_EPOCH, or left out.
Source: CycloneDX 1.6, bom-1.6.schema.json; purl-spec, type pypi.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

PROGRAM = "vaylix-resp"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(name: str) -> str:
    """As in a purl: lower case, runs of - _ . are one dash."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(package: Distribution) -> Iterator[Distribution]:
    """What it requires. What an extra wants is not needed, and what another system wants is not there."""
    for requirement in package.requires or ():
        found = _NAME.match(requirement)
        if found is None or re.search(r";.*\bextra\b", requirement):
            continue
        try:
            yield distribution(found[0])
        except PackageNotFoundError:
            if ";" not in requirement:
                raise


def reference(package: Distribution) -> str:
    return f"pkg:pypi/{normal(package.name)}@{package.version}"


def component(package: Distribution, kind: str = "library") -> dict[str, Any]:
    data = package.metadata
    found: dict[str, Any] = {
        "type": kind, "bom-ref": reference(package), "name": package.name, "version": package.version,
        "purl": reference(package),
    }  # fmt: skip
    if data.get("Summary"):
        found["description"] = data["Summary"]
    if data.get("License-Expression"):
        found["licenses"] = [{"expression": data["License-Expression"]}]
    elif name := _license_name(package):
        found["licenses"] = [{"license": {"name": name}}]
    return found


def _license_name(package: Distribution) -> str:
    """Of metadata from before there were expressions: a classifier, or the first line of what may be a whole text."""
    classifiers = [line for line in package.metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return (classifiers or [package.metadata.get("License") or ""])[0].rpartition(" :: ")[2].partition("\n")[0].strip()


def bill() -> dict[str, Any]:
    """Of the environment that this runs in."""
    root, found, waiting = distribution(PROGRAM), dict[str, Distribution](), [distribution(PROGRAM)]
    while waiting:
        package = waiting.pop()
        if reference(package) not in found:
            found[reference(package)] = package
            waiting += needed(package)
    packages = sorted(found.items())
    python = f"pkg:generic/python@{platform.python_version()}"
    interpreter = {
        "type": "platform", "bom-ref": python, "name": platform.python_implementation(),
        "version": platform.python_version(), "purl": python,
    }  # fmt: skip
    metadata: dict[str, Any] = {"component": component(root, "application")}
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        metadata["timestamp"] = datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {
        "metadata": metadata,
        "components": [component(package) for ref, package in packages if ref != reference(root)] + [interpreter],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted({reference(below) for below in needed(package)} | {python})}
            for ref, package in packages
        ],
    }  # fmt: skip
    content = json.dumps(body, sort_keys=True)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{reference(root)}#{content}")
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return head | body


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m release.sbom FILE")
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=2) + "\n")


if __name__ == "__main__":
    main()
