"""What KubeVirt's API server would say to a manifest, without a cluster.

The OpenAPI document of the pinned KubeVirt release describes its types; this module closes it and checks
against it. Closing matters: in OpenAPI, as in JSON schema, an unknown member is fine, so that `clokc` for
`clock` would pass and the guest would silently get the default clock. Kubernetes' own answer to that,
strict field validation, is the same rule.

Three places where OpenAPI 2 as Kubernetes writes it says less than the server enforces are filled in:
`int32` and `int64` have their bounds, a quantity has its syntax, `int-or-string` takes both.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

EXTRACT = Path(__file__).parent.parent / "images/dev/kubevirt-schema.sh"
EXTRACT_DEADLINE = 960.0  # the script's own limit for the download, and a minute

META = "k8s.io.apimachinery.pkg.apis.meta.v1."
QUANTITY = "k8s.io.apimachinery.pkg.api.resource.Quantity"
# From the documentation of resource.Quantity in k8s.io/apimachinery.
QUANTITY_SYNTAX = r"^[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"

# Types without listed properties that hold anything by design; every other such type is an empty struct.
OPEN = {META + "FieldsV1", META + "Patch", "k8s.io.apimachinery.pkg.runtime.RawExtension"}


def validate(manifest: object) -> list[str]:
    """Every way in which `manifest` is no KubeVirt VirtualMachine, each as `$.path: what is wrong`."""
    errors = _validator().iter_errors(manifest)
    return sorted(f"{error.json_path}: {error.message}" for error in errors)


@functools.cache
def _validator() -> Draft202012Validator:
    definitions = json.loads(_document().read_text())["definitions"]
    closed = {name: _closed(schema, opened=name in OPEN) for name, schema in definitions.items()}
    closed[QUANTITY] = {"type": ["string", "integer", "number"], "pattern": QUANTITY_SYNTAX}
    return Draft202012Validator(
        {
            "definitions": closed,
            "$ref": "#/definitions/v1.VirtualMachine",
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {
                "apiVersion": {"const": "kubevirt.io/v1"},
                "kind": {"const": "VirtualMachine"},
                "metadata": {"required": ["name"]},
            },
        }
    )


def _document() -> Path:
    """The OpenAPI document, extracted on first use. Without Go a skip, and under CI a failure."""
    done = subprocess.run([EXTRACT], capture_output=True, text=True, timeout=EXTRACT_DEADLINE, check=False)
    if done.returncode:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(f"no KubeVirt schema: {done.stderr.strip()}")
    return Path(done.stdout.strip())


def _closed(schema: dict[str, Any], *, opened: bool = False) -> dict[str, Any]:
    """`schema`, a type or a member of one, with nothing allowed that it does not name."""
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {name: _closed(member) for name, member in schema["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            closed[inner] = _closed(schema[inner])
    if schema.get("type") == "object" and "additionalProperties" not in schema and not opened:
        closed["additionalProperties"] = False
    return closed | _bounds(schema.get("format")) | _nullable(schema)


def _bounds(kind: str | None) -> dict[str, Any]:
    if kind in ("int32", "int64"):
        limit = 2 ** (int(kind[3:]) - 1)
        return {"minimum": -limit, "maximum": limit - 1}
    return {"type": ["string", "integer"]} if kind == "int-or-string" else {}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": [schema["type"], "null"]} if schema.get("nullable") else {}
