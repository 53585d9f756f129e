"""Configuration files: every mistake is one line that names file and field, exit code 2."""

from pathlib import Path

import pytest
import yaml

from tests.cli import refused, transferd
from transferd import config
from transferd.errors import UsageError
from transferd.model import VCenter

VCENTER = {
    "url": "https://vcenter.example.com/sdk",
    "username": "migrate",
    "passwordFile": "password",
    "insecure": True,
}
MIGRATION = {"schema": 1, "vcenter": "vcenter.yaml", "vm": {"name": "web"}, "targetDir": "targets"}


def write(folder: Path, name: str, document: object) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(document))
    return path


def test_paths_are_relative_to_the_file_that_holds_them(tmp_path: Path):
    folder = tmp_path / "deep"
    folder.mkdir()
    loaded = config.vcenter(write(folder, "vcenter.yaml", VCENTER))

    assert str(folder / "password") == loaded.password_file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pasword": "x"}, "pasword: Extra inputs"),
        ({"url": None}, "url: Input should be"),
        ({"thumbprint": "aa"}, "exactly one of caFile, thumbprint, insecure"),
        ({"insecure": False}, "exactly one of caFile, thumbprint, insecure"),
        ({"vddk": {"libdirectory": "/opt"}}, "vddk.libdir: Field required"),
    ],
)
def test_a_wrong_vcenter_yaml_names_the_field(tmp_path: Path, change, words):
    path = write(tmp_path, "vcenter.yaml", VCENTER | change)

    with pytest.raises(UsageError, match=words) as caught:
        config.vcenter(path)

    assert "vcenter.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema: Input should be 1"),
        ({"vm": {}}, "exactly one of name, moref, instanceUuid"),
        ({"vm": {"name": "a", "moref": "vm-1"}}, "exactly one of name, moref, instanceUuid"),
        ({"targets": {"2000": "x"}}, "either targets or targetDir"),
        ({"mode": "lukewarm"}, "mode: Input should be"),
        ({"convert": "maybe"}, "convert: Input should be"),
        ({"shutdown": {"policy": "kill"}}, "shutdown.policy: Input should be"),
    ],
)
def test_a_wrong_migration_yaml_names_the_field(tmp_path: Path, change, words):
    path = write(tmp_path, "migration.yaml", MIGRATION | change)

    refused(transferd("migrate", path), 2, words, "migration.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not YAML"), ("- 1", "document: "), ("\0", "not YAML"), ("x" * (1 << 20) + "x", "larger than")],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content, words):
    path = tmp_path / "vcenter.yaml"
    path.write_text(content)

    refused(transferd("inventory", "--vcenter", path), 2, words)


def test_a_missing_file_is_named(tmp_path: Path):
    refused(transferd("inventory", "--vcenter", tmp_path / "none.yaml"), 2, "none.yaml", "No such file")


def test_the_password_is_the_first_line_and_stands_in_no_document(tmp_path: Path):
    (tmp_path / "password").write_text("s3 cret\nsecond line\n")
    loaded = config.vcenter(write(tmp_path, "vcenter.yaml", VCENTER))

    assert config.password(loaded) == "s3 cret"
    assert "s3" not in repr(loaded)


@pytest.mark.parametrize("content", ["", "\nsecond"])
def test_an_empty_password_is_refused(tmp_path: Path, content):
    (tmp_path / "password").write_text(content)

    with pytest.raises(UsageError, match="first line is empty"):
        config.password(VCenter.model_validate(VCENTER | {"passwordFile": str(tmp_path / "password")}))
