"""The security rows S09-S11: to whom the password is given. Whoever is refused has heard nothing of it."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tls
from tests.cli import refused, transferd
from tests.conftest import require
from tests.doubles.vsphere import VSphere
from transferd import config
from transferd.errors import AuthenticationError
from transferd.vsphere import session, trust

BOUNDED = 5.0  # s for a server to be refused
CANARY = "c4nary-of-the-password"


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory) -> Iterator[VSphere]:
    with VSphere(tmp_path_factory.mktemp("vsphere"), []) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> tls.Certificate:
    require("openssl")
    return tls.certificate(tmp_path_factory.mktemp("authority"), "authority")


def claimed(url: str, folder: Path, **trusted: object) -> Path:
    """A vcenter.yaml for this URL with the password of the real one."""
    (folder / "password").write_text(CANARY)
    (folder / "password").chmod(0o600)
    document = {"url": url, "username": "root", "passwordFile": "password", **trusted}
    path = folder / "vcenter.yaml"
    path.write_text(json.dumps(document, default=str))
    return path


def turned_away(server: tls.Server, settings: Path, *words: str) -> None:
    """Refused in time, with exit code 3, before a word was said inside the connection."""
    chosen = config.vcenter(settings)
    began = time.monotonic()
    with pytest.raises(AuthenticationError) as caught:
        session._connect(chosen, lambda: config.password(chosen), threading.Event())

    assert time.monotonic() - began < BOUNDED
    assert caught.value.exit_code == 3
    assert all(word in str(caught.value) for word in words)
    assert CANARY.encode() not in server.heard
    assert b"HTTP" not in server.heard


@pytest.mark.parametrize("trusted", [{}, {"insecure": False}, {"caFile": "x", "insecure": True}])
def test_s09_how_to_trust_is_said_once_and_never_assumed(tmp_path: Path, trusted):
    path = claimed("https://127.0.0.1:9/sdk", tmp_path, **trusted)

    refused(transferd("inventory", "--vcenter", path), 2, "exactly one of caFile, thumbprint, insecure")


def test_s09_insecure_works_and_is_warned_of(vsphere, tmp_path: Path):
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", thumbprint=None, insecure=True)
    run = transferd("inventory", "--vcenter", path)

    assert run.returncode == 0
    assert "level='warning' event='insecure" in run.stderr


def test_s09_a_certificate_that_is_refused_is_not_tried_without_a_check(vsphere, authority, tmp_path: Path):
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", thumbprint=None, caFile=str(authority.file))
    vsphere.reset_calls()

    refused(transferd("inventory", "--vcenter", path), 3, "certificate refused")
    assert vsphere.calls() == {}


def test_s10_another_certificate_of_the_same_name_and_authority_is_not_the_pinned_one(
    authority, tmp_path: Path
):
    pinned = trust.thumbprint(tls.certificate(tmp_path, "vcenter", by=authority).der, "sha256")
    other = tls.certificate(tmp_path, "vcenter", by=authority)
    with tls.serving([other.context()]) as server:
        path = claimed(server.url, tmp_path, thumbprint=pinned)
        turned_away(server, path, pinned, trust.thumbprint(other.der, "sha256"))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("position", [0, -1])
def test_s10_a_thumbprint_with_one_other_digit_is_another(authority, tmp_path: Path, algorithm, position):
    digits = [*trust.thumbprint(authority.der, algorithm)]
    digits[position] = "0" if digits[position] != "0" else "1"
    with tls.serving([authority.context()]) as server:
        turned_away(server, claimed(server.url, tmp_path, thumbprint="".join(digits)), "thumbprint")


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({"host": "192.0.2.1"}, "IP address mismatch"),
        ({"days": -1}, "expired"),
        ({"by": None}, "certificate"),
    ],
    ids=["wrong host", "expired", "self-signed"],
)
def test_s11_a_certificate_that_proves_nothing_is_refused(authority, tmp_path: Path, shown, words):
    found = tls.certificate(tmp_path, "vcenter", **{"by": authority} | shown)
    with tls.serving([found.context()]) as server:
        turned_away(server, claimed(server.url, tmp_path, caFile=authority.file), words)


@pytest.mark.parametrize("trusted", ["thumbprint", "caFile"])
def test_s11_a_certificate_that_is_swapped_after_the_check_is_refused(authority, tmp_path: Path, trusted):
    first = tls.certificate(tmp_path, "first", by=authority)
    second = tls.certificate(tmp_path, "second", by=None)
    value = trust.thumbprint(first.der) if trusted == "thumbprint" else authority.file
    with tls.serving([first.context(), second.context()]) as server:
        turned_away(server, claimed(server.url, tmp_path, **{trusted: value}), "certificate refused")


def obsolete(version: ssl.TLSVersion, certificate: tls.Certificate) -> ssl.SSLContext:
    context = certificate.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("insecure", [True, False])
@pytest.mark.parametrize("version", ["TLSv1_1", None])
def test_s11_what_is_older_than_tls_1_2_is_not_spoken(authority, tmp_path: Path, version, insecure):
    found = tls.certificate(tmp_path, "vcenter", by=authority)
    context = obsolete(ssl.TLSVersion[version], found) if version else None
    with tls.serving([context]) as server:
        trusted = {"insecure": True} if insecure else {"caFile": authority.file}
        path = claimed(server.url, tmp_path, **trusted)
        turned_away(server, path, "TLS 1.2")
        refused(transferd("inventory", "--vcenter", path), 3, "TLS 1.2")
