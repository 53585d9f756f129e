"""The bad-input rows B08-B11 and S32: what people write about where a vCenter is and how to trust it.

What is refused is refused before anything is sent.
"""

import json
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import tls
from tests.cli import refused, transferd
from tests.conftest import require
from tests.doubles.vsphere import VSphere
from transferd import config
from transferd.errors import UsageError
from transferd.model import VCenter
from transferd.vsphere import trust


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory) -> Iterator[VSphere]:
    with VSphere(tmp_path_factory.mktemp("vsphere"), []) as running:
        yield running


def vcenter(**changes: object) -> VCenter:
    document = {"url": "https://127.0.0.1:9/sdk", "username": "u", "passwordFile": "p", "insecure": True}
    return VCenter.model_validate(document | changes)


# --- B08, S32: where vCenter is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://vcenter.example.com", ("vcenter.example.com", 443)),
        ("https://vcenter.example.com/", ("vcenter.example.com", 443)),
        ("https://VCenter.Example.COM:8443/sdk", ("vcenter.example.com", 8443)),
        ("HTTPS://vcenter/sdk/", ("vcenter", 443)),
        ("https://192.0.2.7/sdk", ("192.0.2.7", 443)),
        ("https://[2001:DB8::1]:8443/sdk", ("2001:db8::1", 8443)),
        ("https://b\u00fccher.example/sdk", ("xn--bcher-kva.example", 443)),
        ("https://esx_01.lab/sdk", ("esx_01.lab", 443)),
    ],
)
def test_b08_a_url_in_any_usual_spelling_is_understood(url, place):
    assert trust.address(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "", "vcenter.example.com", "//vcenter/sdk", "http://vcenter/sdk", "ftp://vcenter/sdk", "file:///etc/passwd",
        "https://", "https:///sdk", "https://:443/sdk", "https://vcenter:70000/sdk", "https://vcenter:0/sdk",
        "https://vcenter:-1/sdk", "https://vcenter:https/sdk", "https://2001:db8::1/sdk", "https://::1/sdk",
        "https://[2001:db8::1/sdk", "https://[vcenter]/sdk", "https://vcenter/other", "https://vcenter/sdk?a=b",
        "https://vcenter/sdk#a", "https://vcen\nter/sdk", "https://vcenter/sdk\n", "https://vcenter\t/sdk",
        " https://vcenter/sdk", "https://vcenter /sdk", "https://vcenter\0/sdk", "https://$(id)/sdk",
        "https://-vcenter/sdk", "https://vcenter-/sdk", "https://a..b/sdk", "https://" + "a" * 64 + "/sdk",
        "https://" + "a." * 200 + "a/sdk", "https://ev\uff0fil/sdk", "https://vcenter\u202e/sdk",
    ],
)  # fmt: skip
def test_b08_what_is_no_url_of_a_vcenter_is_refused(url):
    with pytest.raises(UsageError, match="url") as caught:
        trust.address(url)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("url", ["http://vcenter/sdk", "https://vcenter:70000/sdk", "https://vcen\nter/sdk"])
def test_b08_on_one_line_and_before_anything_is_sent(vsphere, tmp_path: Path, url):
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", url=url)
    vsphere.reset_calls()

    refused(transferd("inventory", "--vcenter", path), 2, "url", "https://vcenter.example.com/sdk")
    assert vsphere.calls() == {}


def test_b08_a_password_in_a_url_is_refused_and_not_repeated():
    for url in (
        "https://root:hunter2@vcenter/sdk",
        "https://:hunter2@vcenter:x/sdk",
        "http://hunter2@[/",
        "https://r:hunter2 @v",
    ):
        with pytest.raises(UsageError, match="passwordFile") as caught:
            trust.address(url)
        assert "hunter2" not in str(caught.value)


def test_b08_ipv6_is_spoken_and_another_server_is_no_vcenter(tmp_path: Path):
    require("openssl")
    shown = tls.certificate(tmp_path, "other", host="::1")
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o600)
    with tls.serving([shown.context()], "::1") as server:
        document = {"url": server.url, "username": "u", "passwordFile": "password", "caFile": "other.pem"}
        (tmp_path / "vcenter.yaml").write_text(yaml.safe_dump(document))
        refused(transferd("inventory", "--vcenter", tmp_path / "vcenter.yaml"), 2, "is no vCenter", "url")

    assert b"vimServiceVersions" in server.heard
    assert b"secret" not in server.heard


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.0.1", "[fe80::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "168.63.129.16",
        "100.100.100.200", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
        "169.254.43518", "0", "[::]", "224.0.0.1", "[ff02::1]",
    ],
)  # fmt: skip
def test_s32_the_services_of_a_cloud_are_refused_however_they_are_spelt(host):
    with pytest.raises(UsageError, match="link-local"):
        trust.check(vcenter(url=f"https://{host}/sdk"))


# --- B09: the password file ------------------------------------------------------------------------------


def test_b09_exactly_the_line_end_is_taken_away(tmp_path: Path):
    file = tmp_path / "password"
    for content, password in [
        ("a", "a"),
        ("a\n", "a"),
        (" a \n", " a "),
        ("a\n\n", "a"),
        ("\u00fc b\nc", "\u00fc b"),
    ]:
        file.write_text(content)
        assert config.password(vcenter(passwordFile=str(file))) == password


PASSWORD_FILES = {
    "missing": lambda _: None,
    "empty": Path.touch,
    "a line break": lambda path: path.write_text("\n"),
    "a folder": Path.mkdir,
    "a FIFO that nobody writes to": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "10 MB": lambda path: path.write_bytes(b"hunter2" * 1_500_000),
    "NUL": lambda path: path.write_bytes(b"hunter2\0"),
    "CR LF": lambda path: path.write_bytes(b"hunter2\r\n"),
    "not UTF-8": lambda path: path.write_bytes(b"hunter2\xff\n"),
    "UTF-16": lambda path: path.write_text("hunter2", encoding="utf-16"),
}


@pytest.mark.parametrize("make", PASSWORD_FILES.values(), ids=PASSWORD_FILES)
def test_b09_what_is_no_password_file_is_refused_and_none_of_it_repeated(tmp_path: Path, make):
    make(tmp_path / "password")
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"passwordFile .*/password: ") as caught:
        config.password(vcenter(passwordFile=str(tmp_path / "password")))

    assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
    assert time.monotonic() - began < 5


def test_b09_and_nothing_waits_for_it(vsphere, tmp_path: Path):
    os.mkfifo(tmp_path / "password")
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", passwordFile=str(tmp_path / "password"))
    vsphere.reset_calls()

    refused(transferd("inventory", "--vcenter", path), 2, "passwordFile", "regular file")
    assert "Login" not in vsphere.calls()


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o660, True), (0o440, False), (0o600, False)])
def test_b09_a_password_that_others_can_read_is_warned_of(vsphere, tmp_path: Path, mode, warned, capfd):
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "password").chmod(mode)
    config.vcenter(
        vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", passwordFile=str(tmp_path / "password"))
    )
    said = "".join(capfd.readouterr())

    assert ("password file is open to others" in said) == warned
    assert (f"{mode:04o}" in said) == warned
    assert "hunter2" not in said


@pytest.mark.parametrize("name", ["a\0b", "~nobody-of-that-name/x", "loop"])
def test_b09_a_path_that_cannot_be_one_is_refused(tmp_path: Path, name):
    (tmp_path / "loop").symlink_to("loop")
    document = {"url": "https://h/sdk", "username": "u", "passwordFile": name, "insecure": True}
    (tmp_path / "vcenter.yaml").write_text(json.dumps(document))

    refused(transferd("inventory", "--vcenter", tmp_path / "vcenter.yaml"), 2, "vcenter.yaml", "is no path")


# --- B10, B11: thumbprints and authorities ---------------------------------------------------------------

PRINT = ":".join(["AB"] * 20)


@pytest.mark.parametrize(
    "thumbprint",
    [
        "", ":", "..", "sha1", ":".join(["AB"] * 19), ":".join(["AB"] * 21), "AB" * 19 + "A", "AB" * 33,
        PRINT.replace(":", "\uff1a"), PRINT.replace(":", "-"), PRINT.replace("A", "\uff21"), PRINT + ":",
        ":" + PRINT, PRINT.replace(":", "::"), PRINT.replace("AB", "GG"), f" {PRINT}", f"{PRINT}\n",
        "SHA1 Fingerprint=" + PRINT, "ABC:DEF" + "0" * 34, "x" * 10_000,
    ],
)  # fmt: skip
def test_b10_what_is_no_thumbprint_is_refused_before_anything_is_sent(thumbprint):
    with pytest.raises(UsageError, match="thumbprint") as caught:
        trust.check(vcenter(insecure=False, thumbprint=thumbprint))

    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("spelt", [str, str.lower, lambda text: text.replace(":", "")])
def test_b10_a_thumbprint_in_any_usual_spelling_is_understood(vsphere, algorithm, spelt):
    shown = {"sha1": vsphere.thumbprint, "sha256": vsphere.thumbprint_sha256}[algorithm]
    endpoint = trust.check(vcenter(url=vsphere.url, insecure=False, thumbprint=spelt(shown)))

    assert endpoint.thumbprint == vsphere.thumbprint


AUTHORITIES = {
    "missing": (lambda *_: None, "No such file"),
    "empty": (lambda path, _: path.touch(), "no certificate"),
    "text": (lambda path, _: path.write_text("hello"), "no certificate"),
    "cut off": (lambda path, pem: path.write_text(pem[: len(pem) // 2]), "no certificate"),
    "a folder": (lambda path, _: path.mkdir(), "Is a directory"),
    "a FIFO": (lambda path, _: os.mkfifo(path), "regular file"),
    "large": (lambda path, _: path.write_bytes(bytes(2 << 20)), "larger than"),
    "with a key": (
        lambda path, pem: path.write_text(f"{pem}-----BEGIN PRIVATE KEY-----\nhunter2\n"),
        "holds a private key",
    ),
    "with an encrypted key": (
        lambda path, pem: path.write_text(f"{pem}-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2\n"),
        "holds a private key",
    ),
}


@pytest.mark.parametrize(("make", "words"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_b11_what_is_no_authority_is_refused(vsphere, tmp_path: Path, make, words):
    file = tmp_path / "ca.pem"
    make(file, vsphere.ca_file.read_text())
    with pytest.raises(UsageError, match=f"caFile .*/ca.pem: .*{words}") as caught:
        trust.check(vcenter(url=vsphere.url, insecure=False, caFile=str(file)))

    assert "hunter2" not in str(caught.value)


def test_b11_an_authority_may_be_pem_with_words_around_it_or_der(vsphere, tmp_path: Path):
    pem, file = vsphere.ca_file.read_text(), tmp_path / "ca"
    for content in (f"# f\u00fcr uns\n{pem}\nend".encode(), ssl.PEM_cert_to_DER_cert(pem), pem.encode() * 3):
        file.write_bytes(content)
        endpoint = trust.check(vcenter(url=vsphere.url, insecure=False, caFile=str(file)))
        assert endpoint.thumbprint == vsphere.thumbprint


def test_b11_an_authority_that_has_expired_vouches_for_nobody(tmp_path: Path):
    require("openssl")
    old = tls.certificate(tmp_path, "old", days=-1)
    with (
        tls.serving([tls.certificate(tmp_path, "vcenter", by=old).context()]) as server,
        pytest.raises(ssl.SSLCertVerificationError, match="expired"),
    ):
        trust.check(vcenter(url=server.url, insecure=False, caFile=str(old.file)))
