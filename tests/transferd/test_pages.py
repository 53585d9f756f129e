"""One page of changed areas: what is read, what is refused, how the connection is used."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pyVmomi import vim, vmodl
from pyVmomi.SoapAdapter import SoapStubAdapter

from transferd.areas import ChangesUnknown
from transferd.errors import SourceError
from transferd.units import KiB, MiB
from transferd.vsphere import pages
from transferd.vsphere.pages import Answer, Page

UUID = "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63"
SINCE = f"{UUID}/81"
ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{}</soapenv:Body></soapenv:Envelope>'
)
CALL = "QueryChangedDiskAreasResponse"
FAULT = (
    "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>said so</faultstring><detail>"
    '<{0}Fault xmlns="urn:vim25" xsi:type="{0}">{1}</{0}Fault></detail></soapenv:Fault>'
)


def area(start: object, length: object) -> str:
    return f"<changedArea><start>{start}</start><length>{length}</length></changedArea>"


def described(start: object, length: object, *areas: str) -> str:
    return f"<startOffset>{start}</startOffset><length>{length}</length>{''.join(areas)}"


def answer(inside: str) -> bytes:
    return ENVELOPE.format(f'<{CALL} xmlns="urn:vim25"><returnval>{inside}</returnval></{CALL}>').encode()


def fault(kind: str, inside: str = "") -> bytes:
    return ENVELOPE.format(FAULT.format(kind, inside)).encode()


def read(data: bytes, step: int = 1 << 20) -> Page:
    parser = Answer()
    for start in range(0, len(data), step):
        parser.feed(data[start : start + step])
    return parser.page()


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_an_answer_is_read_in_whatever_pieces_it_comes(step):
    page = read(answer(described(MiB, 3 * MiB, area(MiB, 64 * KiB), area(2 * MiB, 4096))), step)

    assert (page.start, page.end) == (MiB, 4 * MiB)
    assert [*page.starts] == [MiB, 2 * MiB]
    assert [*page.lengths] == [64 * KiB, 4096]


def test_white_space_between_elements_means_nothing():
    data = answer(described(0, MiB, area(0, 512))).replace(b"><", b">\n  <")

    assert ([*read(data).starts], [*read(data).lengths]) == ([0], [512])


def test_a_page_without_areas_is_a_stretch_where_nothing_changed():
    page = read(answer(described(0, MiB)))

    assert (page.start, page.end, len(page.starts)) == (0, MiB, 0)


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "1">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


NO_ANSWERS = {
    "entities that multiply": answer(described(0, MiB, area("&i;", 1))).replace(
        b"<soapenv:Env", BOMB.encode() + b"<soapenv:Env", 1
    ),
    "an entity that is a file": b'<!DOCTYPE x SYSTEM "file:///etc/passwd">'
    + answer(described(0, MiB)).partition(b"\n")[2],
    "no length": answer(f"<startOffset>0</startOffset>{area(0, 512)}"),
    "no start offset": answer(f"<length>{MiB}</length>{area(0, 512)}"),
    "an area without length": answer(described(0, MiB, "<changedArea><start>0</start></changedArea>")),
    "an area without start": answer(described(0, MiB, "<changedArea><length>512</length></changedArea>")),
    "an area in an area": answer(described(0, MiB, area(0, f"5{area(0, 512)}"))),
    "an empty number": answer(described(0, MiB, area("", 512))),
    "no decimal number": answer(described(0, MiB, area("0x10", 512))),
    "a number beyond 64 bits": answer(described(0, MiB, area(1 << 63, 512))),
    "a number of 10 KB": answer(described(0, MiB, area(0, "9" * 10_240))),
    "cut off": answer(described(0, MiB, area(0, 512)))[:-40],
    "an empty envelope": ENVELOPE.format("").encode(),
    "the page of a proxy": b"<html><body>Sign in to the proxy</body></html>",
    "no XML": b"\0" * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("data", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_is_no_answer_is_refused(liar, data):
    liar.says(data)

    with pytest.raises(SourceError, match="cannot be read") as raised:
        ask(liar)
    assert not isinstance(raised.value, ChangesUnknown)
    assert len(str(raised.value)) < 200


@dataclass
class Liar:
    """A server in vCenter's place that says what a test tells it to, whatever it is asked."""

    port: int = 0
    script: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)
    heard: list[tuple[tuple[str, int], dict[str, str]]] = field(default_factory=list)
    pause: float = 0.0  # s after each byte of a body

    def says(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.script.append((status, body, headers))


@pytest.fixture
def liar() -> Iterator[Liar]:
    with serving(Liar()) as running:
        yield running


@contextmanager
def serving(liar: Liar) -> Iterator[Liar]:
    class Reply(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            liar.heard.append((self.client_address, {**self.headers}))
            status, body, headers = liar.script.pop(0)
            self.send_response(status)
            sized = {"Content-Length": str(len(body))} if "Transfer-Encoding" not in headers else {}
            for name, value in (sized | headers).items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for each in [body] if not liar.pause else (bytes([byte]) for byte in body):
                    self.wfile.write(each)
                    self.wfile.flush()
                    time.sleep(liar.pause)
            except OSError:
                self.close_connection = True  # whoever asked has gone
            if "Content-Length" in headers:
                self.close_connection = True  # it promised more than it has

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Reply)
    liar.port = server.server_port
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients here hang up as they like
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield liar
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def machine_at(liar: Liar) -> vim.VirtualMachine:
    """pyVmomi's own connection to it, in plain HTTP."""
    stub = SoapStubAdapter("127.0.0.1", -liar.port, httpConnectionTimeout=5)
    stub.cookie = "vmware_soap_session=canary"
    return vim.VirtualMachine("vm-1", stub)


def ask(liar: Liar) -> Page:
    machine = machine_at(liar)
    try:
        return pages.ask(machine, None, 2000, 0, SINCE)
    finally:
        machine._stub.DropConnections()


def test_pages_come_over_one_connection_with_the_sessions_cookie(liar):
    machine = machine_at(liar)
    whole = answer(described(0, MiB, area(0, 512)))
    liar.says(whole)
    in_two = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (50, whole[:50], len(whole) - 50, whole[50:])
    liar.says(in_two, **{"Transfer-Encoding": "chunked"})
    liar.says(fault("FileFault", "<file>x</file>"), 500)
    liar.says(whole)

    assert len({pages.ask(machine, None, 2000, 0, SINCE).end for _ in range(2)}) == 1
    with pytest.raises(ChangesUnknown):
        pages.ask(machine, None, 2000, 0, SINCE)
    assert [*pages.ask(machine, None, 2000, 0, SINCE).lengths] == [512]
    machine._stub.DropConnections()
    assert len({address for address, _ in liar.heard}) == 1
    assert {headers["Cookie"] for _, headers in liar.heard} == {"vmware_soap_session=canary"}


def test_nothing_compressed_is_asked_for(liar):
    liar.says(answer(described(0, MiB)))
    ask(liar)

    assert liar.heard[0][1].get("Accept-Encoding", "identity") == "identity"


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("FileFault", "<file>[ds] web/web-ctk.vmdk</file>"),
        ("NotFound", ""),
        ("InvalidArgument", "<invalidProperty>changeId</invalidProperty>"),
        ("InvalidArgument", ""),
    ],
)
def test_f22_a_change_id_that_vsphere_does_not_know_never_means_that_nothing_changed(liar, kind, inside):
    liar.says(fault(kind, inside), 500)

    with pytest.raises(ChangesUnknown, match=f"since {UUID}/81: {kind}") as raised:
        ask(liar)
    assert raised.value.exit_code == 4
    assert "compare the whole disk" in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "inside", "expected"),
    [
        ("InvalidArgument", "<invalidProperty>startOffset</invalidProperty>", vmodl.fault.InvalidArgument),
        ("InvalidArgument", "<invalidProperty>deviceKey</invalidProperty>", vmodl.fault.InvalidArgument),
        ("NotAuthenticated", "<privilegeId>System.View</privilegeId>", vim.fault.NotAuthenticated),
        ("ManagedObjectNotFound", '<obj type="VirtualMachineSnapshot">snapshot-1</obj>', vmodl.MethodFault),
    ],
)
def test_other_faults_are_the_sessions_to_judge(liar, kind, inside, expected):
    liar.says(fault(kind, inside), 500)

    with pytest.raises(expected) as raised:
        ask(liar)
    assert type(raised.value).__name__.endswith(kind)


def test_an_answer_that_is_cut_off_or_refused_is_the_networks_fault(liar):
    liar.says(answer(described(0, MiB)), **{"Content-Length": "4000"})
    liar.says(b"busy", 503)

    with pytest.raises(http.client.IncompleteRead):
        ask(liar)
    with pytest.raises(http.client.HTTPException, match="503"):
        ask(liar)


def test_an_answer_without_end_is_refused(liar, monkeypatch):
    monkeypatch.setattr(pages, "LARGEST", 100 * KiB)
    liar.says(answer(described(0, MiB, area(0, 512) * 4000)))

    with pytest.raises(SourceError, match="more than 102400 bytes"):
        ask(liar)


def test_an_answer_that_trickles_in_has_a_deadline(liar, monkeypatch):
    monkeypatch.setattr(pages, "DEADLINE", 0.3)
    liar.pause = 0.01
    liar.says(answer(described(0, MiB, area(0, 512) * 100)))
    begun = time.monotonic()

    with pytest.raises(TimeoutError):
        ask(liar)
    assert time.monotonic() - begun < 5
