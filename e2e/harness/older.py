"""The chart as a version before this one had it: fewer kinds, fields and values, and another number. There is no released older chart to take."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = "0.0.9"
# What came after it. Each is optional in this version, so that whatever it wrote is still good.
LATER_KIND = "agentworkspacepools.palisade.dev"
LATER_FIELDS = {
    "agentworkspaces.palisade.dev": ("status", "warmPod"),
    "agentpolicies.palisade.dev": ("spec", "requireSignatures"),
}
LATER_VALUE = "definitions"


def _write(path: pathlib.Path, document: dict) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False, width=4096))


def _definitions(folder: pathlib.Path) -> None:
    (folder / f"{LATER_KIND}.yaml").unlink()
    for name, (part, field) in LATER_FIELDS.items():
        path = folder / f"{name}.yaml"
        definition = yaml.safe_load(path.read_text())
        for version in definition["spec"]["versions"]:
            del version["schema"]["openAPIV3Schema"]["properties"][part]["properties"][field]
        _write(path, definition)


def older_chart(into: pathlib.Path) -> pathlib.Path:
    """Its folder, made below `into`."""
    chart = into / "palisade-older"
    shutil.copytree(ROOT / "charts/palisade", chart)  # the definitions are a link to where they are written
    text = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(re.sub(r"^(version|appVersion): .*$", rf"\1: {VERSION}", text, flags=re.M))
    (chart / "templates/definitions.yaml").unlink()
    values = yaml.safe_load((chart / "values.yaml").read_text())
    del values[LATER_VALUE]
    _write(chart / "values.yaml", values)
    schema = json.loads((chart / "values.schema.json").read_text())
    del schema["properties"][LATER_VALUE]
    (chart / "values.schema.json").write_text(json.dumps(schema))
    _definitions(chart / "crds")
    return chart


def packaged(helm: pathlib.Path, chart: pathlib.Path, into: pathlib.Path) -> pathlib.Path:
    """The chart as a repository would hand it out."""
    into.mkdir()
    subprocess.run([helm, "package", chart, "--destination", into], capture_output=True, text=True, check=True)
    (made,) = into.glob("*.tgz")
    return made
