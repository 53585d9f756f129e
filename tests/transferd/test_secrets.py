"""The security rows S01-S04 and S06-S08: where the password goes, and what vCenter sees of us.

One warm migration is watched from beginning to end: every command line and environment on this machine, 20
times a second, everything it leaves and everything it says. Its password is one that looks different in
every encoding.
"""

import asyncio
import base64
import ctypes
import json
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
import structlog

from tests import dsl
from tests.cli import ended, refused, started, transferd, wait_until
from tests.conftest import require
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.line import NAME, Job
from tests.warm_line import judge, warm
from transferd import config, nbdkit, privacy
from transferd.errors import AuthenticationError
from transferd.model import VMRef
from transferd.vsphere import session, trust

CANARY = "c4nary <&\"'> %2f \\n\u00fc+/="
SPELLINGS = {
    "plain": CANARY,
    "URL": quote(CANARY, safe=""),
    "URL with slashes": quote(CANARY),
    "form": quote_plus(CANARY),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 behind a user": base64.b64encode(f"root:{CANARY}".encode()).decode(),
    "XML": escape(CANARY),
    "XML attribute": escape(CANARY, {'"': "&quot;", "'": "&apos;"}),
    "repr": repr(CANARY)[1:-1],
    "JSON": json.dumps(CANARY)[1:-1],
    "hex": CANARY.encode().hex(),
}
PR_GET_DUMPABLE = 3  # linux/prctl.h

# What a least-privileged role allows, and the calls that it takes (the privileges as vSphere names them).
ROLE = {
    "System.Anonymous": {"RetrieveServiceContent", "Login", "Logout"},
    "System.View, System.Read": {
        "RetrievePropertiesEx", "ContinueRetrievePropertiesEx", "Fetch", "CreateContainerView", "DestroyView",
    },
    "VirtualMachine.Config.ChangeTracking": {"ReconfigVM_Task"},
    "VirtualMachine.Provisioning.DiskRandomRead": {"QueryChangedDiskAreas"},
    "VirtualMachine.State.CreateSnapshot": {"CreateSnapshot_Task"},
    "VirtualMachine.State.RemoveSnapshot": {"RemoveSnapshot_Task", "ConsolidateVMDisks_Task"},
    "VirtualMachine.Interact.PowerOff": {"ShutdownGuest", "PowerOffVM_Task"},
    "VirtualMachine.Interact.PowerOn": {"PowerOnVM_Task"},
}  # fmt: skip


def leaks(content: bytes) -> list[str]:
    """In which spellings a good part of the password is in there."""
    return [name for name, spelling in SPELLINGS.items() if spelling[8:20].encode() in content]


@dataclass
class Watch:
    """What was seen of the machine's processes while it lasted."""

    samples: int = 0
    programs: set[str] = field(default_factory=set)
    hits: list[str] = field(default_factory=list)
    cores: set[bytes] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            self.samples += 1
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    words = (folder / "cmdline").read_bytes()
                    self.programs.add(Path(words.split(b"\0")[0].decode(errors="replace")).name)
                    if b"nbdkit\0--foreground" in words:
                        limits = (folder / "limits").read_bytes().splitlines()
                        self.cores |= {line for line in limits if line.startswith(b"Max core")}
                    self.hits += leaks(words) + leaks((folder / "environ").read_bytes())
                except OSError:  # it has ended, or shows itself to nobody
                    continue


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    return dsl.write("ABC-DE", tmp_path_factory.mktemp("image") / "disk.img", tail=512)


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory, image) -> Iterator[VSphere]:
    require("nbdkit")
    nics = [Nic("00:50:56:01:02:03")]
    vms = [
        VM(NAME, disks=[Disk(image)], nics=nics, powered_on=True),
        VM("idle", disks=[Disk(image)], nics=nics),
    ]
    folder = tmp_path_factory.mktemp("vsphere")
    with VSphere(folder, vms, password=CANARY, shutdown_delay=0.2, latency_us=150_000) as running:
        yield running


@pytest.fixture
def settings(vsphere, tmp_path: Path) -> Path:
    return vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")


@dataclass
class Seen:
    watch: Watch
    done: subprocess.CompletedProcess[str]
    calls: dict[str, int]
    job: Job


@pytest.fixture(scope="module")
def seen(tmp_path_factory, vsphere) -> Seen:
    """A warm migration with all that it can say, watched."""
    job = warm(Job(tmp_path_factory.mktemp("job")), vsphere, precopy={"rounds": 2, "interval": "1s"})
    vsphere.reset_calls()
    with Watch() as watch:
        done = transferd("--debug", "migrate", job.spec, "--result", job.result)
    calls = vsphere.calls()
    assert done.returncode == 0, done.stderr
    judge(vsphere, job)
    return Seen(watch, done, calls, job)


# --- S01-S04: where the password goes --------------------------------------------------------------------


def test_s01_the_password_is_in_no_command_line_and_no_environment(seen):
    assert seen.watch.hits == []
    assert seen.watch.samples > 40
    assert "nbdkit" in seen.watch.programs


def test_s02_the_password_is_in_nothing_that_a_migration_says_or_leaves(seen):
    files = [path for path in seen.job.folder.rglob("*") if path.is_file()]

    assert "starting nbdkit" in seen.done.stderr
    assert {path.name for path in files} >= {"disk-2000.journal", "migration.json", "manifest.yaml"}
    assert {path.name: found for path in files if (found := leaks(path.read_bytes()))} == {}
    assert leaks(seen.done.stderr.encode() + seen.done.stdout.encode()) == []


def test_s02_nor_in_the_report_page_and_the_result_of_a_copy(settings, tmp_path: Path):
    page, result = tmp_path / "page.html", tmp_path / "result.json"
    documents = ("--report", page, "--result", result)
    done = transferd("--debug", "copy", "--vcenter", settings, "--vm", "idle", tmp_path / "t", *documents)

    assert done.returncode == 0, done.stderr
    assert leaks(page.read_bytes() + result.read_bytes() + (done.stdout + done.stderr).encode()) == []


def test_s02_nor_in_the_last_words_of_a_worker_that_fails(vsphere, settings, tmp_path: Path):
    """It fails where the password is in hand: vSphere lets it in, and VDDK does not."""
    registry = tmp_path / "registry"
    registry.mkdir()
    for file in (vsphere.state / "registry").iterdir():
        (registry / file.name).write_text(file.read_text().replace(f"password {CANARY}", "password other"))
    vddk = {"libdir": str(vsphere.libdir), "config": {"transferd.double.state": str(registry)}}
    vsphere.write_vcenter_yaml(settings, vddk=vddk)
    log, result = tmp_path / "log", tmp_path / "result"
    copy = ("--debug", "copy", "--vcenter", settings, "--vm", "idle", tmp_path / "t", "--result", result)
    (tmp_path / "spec").write_text(
        f"{{schema: 1, vcenter: {settings}, vm: {{name: idle}}, targetDir: ., stage: round, epoch: 1}}"
    )
    last = ("--debug", "worker", "--spec", tmp_path / "spec", "--state", tmp_path, "--termination-log", log)
    for done in (transferd(*copy), transferd(*last)):
        assert done.returncode != 0
        assert leaks((done.stdout + done.stderr).encode()) == []
    assert leaks(log.read_bytes() + result.read_bytes()) == []


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("before", ["", "x" * (nbdkit.LINE - 20), "x" * (nbdkit.READ_SIZE - 10)])
async def test_s03_what_a_child_prints_is_kept_without_the_password(spelling, before):
    """Wherever it stands: where a line is cut, or where two reads of the pipe meet."""
    text = f"{before}error: VixDiskLib_ConnectEx: password {spelling} end\nerror: VixDiskLib_Open: {spelling}"
    writer = "import sys; sys.stderr.write(sys.stdin.read())"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", writer, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    with structlog.testing.capture_logs() as logged:
        server = nbdkit.Server(child, "/nowhere", Path("/nowhere"), "disk", privacy.without(CANARY))
        child.stdin.write(text.encode())
        child.stdin.close()
        await child.wait()
        await server._listener
    kept = f"{logged} {server.last_words()} {server.explain()}"

    assert leaks(kept.encode()) == []
    assert privacy.HIDDEN in server.last_words() or privacy.HIDDEN in kept


def test_s03_a_secret_too_short_to_be_one_does_not_blot_out_the_log():
    assert privacy.without("a")("a banana") == "a banana"
    assert privacy.without("S3cret!")("S3cret! banana") == f"{privacy.HIDDEN} banana"


async def test_s04_the_memory_of_a_process_that_knows_a_password_is_not_dumped(settings):
    chosen = config.vcenter(settings)
    async with session.connect(chosen, lambda: config.password(chosen)):
        assert ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def test_s04_nor_is_that_of_the_nbdkits_that_it_starts(seen):
    assert {tuple(line.split()[4:6]) for line in seen.watch.cores} == {(b"0", b"0")}


OTHER_USER = """
import mmap, os
from pathlib import Path
from transferd import privacy
from transferd.backends.file_target import FileTarget
privacy.keep_memory()
with FileTarget(Path("target"), 1 << 20) as target:
    data = memoryview(mmap.mmap(-1, 1 << 20))
    data[:] = b"A" * (1 << 20)
    target.pwrite(0, data)
    target.sync()
    print(os.geteuid(), os.stat("/proc/self/environ").st_uid, target.notes)
"""


def test_s04_and_without_being_root_it_still_writes_past_the_page_cache():
    """The kernel gives the /proc folder of such a process to root; FileTarget goes through it."""
    require("setpriv")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c"]
    root = Path(__file__).parents[2]
    if subprocess.run(
        [*user, "import transferd.model"], cwd=root, capture_output=True, check=False
    ).returncode:
        pytest.skip("another user cannot read this checkout")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [*user, OTHER_USER], cwd=folder, env={"PYTHONPATH": str(root)}, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert Path(folder, "target").read_bytes() == b"A" * (1 << 20), done.stderr

    assert done.stdout.split(maxsplit=2)[:2] == ["65534", "0"]


# --- S06-S08: what vCenter sees --------------------------------------------------------------------------


@pytest.fixture
def sessions(vsphere) -> Iterator[Callable[[], bool]]:
    """Whether as many sessions are left as there were."""
    before = vsphere.sessions()
    yield lambda: vsphere.sessions() == before
    for method in ("Login", "RetrievePropertiesEx", "Logout"):
        vsphere.delay(method, 0)


def test_s06_a_command_that_ends_well_closes_its_session(seen, settings, sessions):
    assert transferd("inventory", "--vcenter", settings).returncode == 0
    assert seen.calls["Login"] == seen.calls["Logout"] == 1
    assert sessions()


@pytest.mark.parametrize(
    ("vm", "fault", "code"),
    [("nobody", None, 2), ("idle", "NoPermission", 3), ("idle", "SystemError", 4), ("idle", "drop", 0)],
)
def test_s06_a_command_that_fails_closes_its_session(vsphere, settings, sessions, vm, fault, code):
    if fault:
        vsphere.fault("RetrievePropertiesEx", fault)
    assert transferd("inventory", "--vcenter", settings, "--vm", vm).returncode == code
    assert sessions()


@pytest.mark.parametrize(
    ("method", "number"), [("Login", signal.SIGTERM), ("RetrievePropertiesEx", signal.SIGINT)]
)
def test_s06_a_command_that_is_told_to_end_closes_its_session(vsphere, settings, sessions, method, number):
    vsphere.reset_calls()
    vsphere.delay(method, 2.0)
    with started("inventory", "--vcenter", settings) as running:
        wait_until(lambda: vsphere.calls().get(method))
        running.send_signal(number)
        refused(ended(running), 8, "signal")
    vsphere.delay(method, 0)
    assert sessions()


def test_s06_a_vcenter_that_says_nothing_any_more_does_not_keep_a_command_from_ending(vsphere, settings):
    vsphere.reset_calls()
    vsphere.delay("RetrievePropertiesEx", 60.0)
    vsphere.delay("Logout", 60.0)
    try:
        with started("inventory", "--vcenter", settings) as running:
            wait_until(lambda: vsphere.calls().get("RetrievePropertiesEx"))
            began = time.monotonic()
            running.send_signal(signal.SIGTERM)
            refused(ended(running), 8, "signal")
        assert time.monotonic() - began < 30  # half of what one call may take
    finally:
        for method in ("RetrievePropertiesEx", "Logout"):
            vsphere.delay(method, 0)
        vsphere.expire_sessions()


def test_s07_a_wrong_password_is_tried_once(vsphere, tmp_path: Path):
    before = vsphere.failed_logins()
    (tmp_path / "password").write_text("wrong\n")
    path = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml", passwordFile=str(tmp_path / "password"))

    refused(transferd("inventory", "--vcenter", path), 3, "InvalidLogin")
    assert vsphere.failed_logins() == before + 1


def test_s07_a_password_that_stops_working_is_tried_three_times_by_all_threads_together(vsphere, settings):
    """Each time it is another one: the same is never tried twice."""
    before = vsphere.failed_logins()
    given = iter([CANARY, *map(str, range(100))])
    opened = session.Session(trust.check(config.vcenter(settings)), vsphere.username, lambda: next(given))
    vsphere.expire_sessions()
    errors: list[Exception] = []

    def call() -> None:
        try:
            opened.read_vm(VMRef(name="idle"))
        except AuthenticationError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened.close()

    assert len(errors) == 3
    assert vsphere.failed_logins() == before + session.FAILED_LOGINS


def test_s08_a_role_with_few_privileges_is_enough_for_a_warm_migration(seen):
    allowed = set().union(*ROLE.values())

    assert seen.calls.keys() - allowed == set()
