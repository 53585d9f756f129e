"""The one table of `make bench`: transferd beside each peer, from the newest stored result of every case.

    python -m bench.table     prints it, writes bench/TABLE.md, puts its main rows into README.md

A figure is a median of seconds; behind it the rate, the CPU seconds of the tool and of its nbdkit, and the
highest memory peak. A ratio is the peer's seconds by transferd's: how many times as fast. `goal` is what the
project set itself; where it is not reached the table says so.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from transferd.units import GiB, KiB, MiB, human

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
SHOWN = ("local file", "VDDK, 5 ms")  # in README.md, beside every row that has a goal
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
HEADER = ("measure", "transferd", "beside", "its figure", "ratio", "goal", "reached")
OURS = "transferd"

FASTER_PEER = 1.2  # of nbdcopy and qemu-img, for a local file
VERIFYING = 1.35  # times the seconds of a copy that is not verified
MEMORY = 150 * MiB
START_UP = 0.25  # s
PLANNED = 5.0  # s for a million changed areas
AREAS_MEMORY = 400 * MiB
FAIRNESS = 0.8  # the slowest disk's rate, of the fastest's
CONVERSION = 12.0  # times as fast as virt-v2v, copying left out
BESIDES = 15.0  # s that a conversion takes besides its one launch
OWN_RATE = 0.85  # of what is possible at 5 ms
IN_FLIGHT = 16 * MiB  # 16 reads of 1 MiB; transferd goes deeper, which makes the bound no lower
TIMES_AS_FAST = {
    ("VDDK, 5 ms", "nbdcopy, virt-v2v's filters"): 15.0,
    ("VDDK, 5 ms", "CDI model"): 8.0,
    ("scattered delta, 10 ms", "serial model"): 60.0,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line; `reached` is None where there is no goal."""

    measure: str
    ours: str
    peer: str = ""
    theirs: str = ""
    ratio: str = ""
    goal: str = ""
    reached: bool | None = None

    def __str__(self) -> str:
        *cells, reached = astuple(self)
        return line(*cells, {None: "", True: "yes", False: "**no**"}[reached])


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def newest(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The machine of the newest result, and the newest `extra_info` of every case, in the order of runs."""
    machine: dict[str, Any] = {}
    cases: dict[str, dict[str, Any]] = {}
    stored = [json.loads(path.read_text()) for path in folder.glob("*/*.json")]
    for result in sorted(stored, key=lambda result: result["datetime"]):
        for benchmark in result["benchmarks"]:
            if "tools" in benchmark["extra_info"]:
                machine = result["machine_info"] | {"date": result["datetime"][:10]}
                cases[benchmark["fullname"]] = benchmark["extra_info"]
    return machine, cases


def figure(tool: dict[str, Any], size: int) -> str:
    rate = human(size / tool["median_s"])
    cpu = f"CPU {tool['cpu_s']:.1f} + {tool['server_cpu_s']:.1f} s"
    return f"{tool['median_s']:.2f} s ({rate}/s, {cpu}, {human(tool['peak_bytes'])})"


def beside(case: dict[str, Any], peer: str, goal: float | None = None) -> Row:
    """One peer's row of a race."""
    tools = case["tools"]
    ours = tools[OURS]
    ratio = tools[peer]["median_s"] / ours["median_s"]
    return Row(
        f"{case['case']}, {human(case['size'])}",
        figure(ours, case["size"]),
        peer,
        figure(tools[peer], case["size"]),
        f"{ratio:.2f} x",
        f">= {goal:g} x" if goal else "",
        ratio >= goal if goal else None,
    )


def local_file(case: dict[str, Any]) -> Iterator[Row]:
    tools, size = case["tools"], case["size"]
    ours, verified = tools[OURS], tools["transferd, verified"]
    faster = min(("nbdcopy", "qemu-img"), key=lambda name: tools[name]["median_s"])
    for peer in ("nbdcopy", "qemu-img"):
        yield beside(case, peer, FASTER_PEER if peer == faster else None)
    yield beside(case, "raw write")
    cost = verified["median_s"] / ours["median_s"]
    yield Row(
        f"verified, {human(size)}", figure(verified, size), "not verified", figure(ours, size),
        f"{cost:.2f} x the time", f"<= {VERIFYING:g} x", cost <= VERIFYING,
    )  # fmt: skip
    for name in ("nbdcopy", "qemu-img"):
        mine, its = (cpu_of(tools[tool]) * GiB / size for tool in (OURS, name))
        yield Row("CPU seconds a GiB, nbdkit's included", f"{mine:.2f} s", name, f"{its:.2f} s")
    peak = max(ours["peak_bytes"], verified["peak_bytes"])
    yield Row("memory of one disk", human(peak), goal=f"<= {human(MEMORY)}", reached=peak <= MEMORY)


def cpu_of(tool: dict[str, Any]) -> float:
    return float(tool["cpu_s"] + tool["server_cpu_s"])


def own_rate(cases: list[dict[str, Any]]) -> Iterator[Row]:
    """At 5 ms, against the smaller of what is in flight by the latency and its own rate at 0 ms."""
    rates = {
        case["latency_us"]: case["size"] / case["tools"][OURS]["median_s"]
        for case in cases
        if case["case"].startswith("VDDK") and "window" not in case
    }
    if {0, 5000} <= rates.keys():
        possible = min(IN_FLIGHT / 0.005, rates[0])
        share = rates[5000] / possible
        yield Row(
            "VDDK, 5 ms, of what is possible", f"{human(rates[5000])}/s", "itself at 0 ms",
            f"{human(possible)}/s", f"{share:.0%}", f">= {OWN_RATE:.0%}", share >= OWN_RATE,
        )  # fmt: skip


def at_once(case: dict[str, Any]) -> Row:
    def figure_of(tool: dict[str, Any]) -> str:
        return (
            f"{tool['rate_held']:.0%} of the rate, slowest {tool['fairness']:.0%} of fastest"
            f" (CPU {tool['cpu_s']:.1f} s, {human(tool['peak_bytes'])} each)"
        )

    fairness = case["tools"][OURS]["fairness"]
    measure = f"disks at once: {case['disks']}, {human(case['size'])} at {case['rate'] / 1e6:g} MB/s each"
    ours, peer = (figure_of(case["tools"][name]) for name in (OURS, "nbdcopy"))
    return Row(measure, ours, "nbdcopy", peer, "", f"slowest >= {FAIRNESS:.0%}", fairness >= FAIRNESS)


def start_up(case: dict[str, Any]) -> Row:
    ours, peer = (case["first_read_s"][name] for name in (OURS, "nbdcopy"))
    measure = "exec to first read, median of 11"
    return Row(measure, f"{ours:.3f} s", "nbdcopy", f"{peer:.3f} s", "", f"<= {START_UP} s", ours <= START_UP)


def changed_areas(case: dict[str, Any]) -> Iterator[Row]:
    ours, theirs = (case["phases"][name] for name in (OURS, "pyVmomi"))
    what = f"{case['areas']:,} changed areas"
    figures = [f"{of['fetch_s']:.2f} s (CPU {of['fetch_cpu_s']:.2f} s)" for of in (ours, theirs)]
    ratio = f"{theirs['fetch_s'] / ours['fetch_s']:.2f} x"
    yield Row(f"{what}, fetched and parsed", figures[0], "pyVmomi", figures[1], ratio)
    planned, peak = ours["plan_s"], case["tools"][OURS]["peak_bytes"]
    yield Row(f"{what}, planned", f"{planned:.2f} s", goal=f"<= {PLANNED:g} s", reached=planned <= PLANNED)
    yield Row(f"{what}, memory", human(peak), goal=f"<= {human(AREAS_MEMORY)}", reached=peak <= AREAS_MEMORY)


def models(case: dict[str, Any]) -> Row:
    poll, loop = (case["tools"][name] for name in ("poll threads", "event loop"))
    return Row(
        case["case"], "poll threads " + figure(poll, case["size"]), "event loop",
        figure(loop, case["size"]), f"{loop['median_s'] / poll['median_s']:.2f} x",
    )  # fmt: skip


def rows(cases: list[dict[str, Any]]) -> Iterator[Row]:
    """The shape of `extra_info` says which suite a case belongs to; rows come in the order of the goals."""
    for case in cases:
        if case["case"] == "local file":
            yield from local_file(case)
    for case in sorted((case for case in cases if "latency_us" in case), key=lambda case: "areas" in case):
        for peer in list(case["tools"])[1:]:
            yield beside(case, peer, TIMES_AS_FAST.get((case["case"], peer)))
    yield from own_rate(cases)
    for case in cases:
        yield from of_its_own(case)
    for case in cases:
        if "event loop" in case["tools"]:
            yield models(case)


def conversion(case: dict[str, Any]) -> Iterator[Row]:
    ours, steps = case["tools"][OURS]["median_s"], case["steps"]
    what = f"{case['case']}, {human(case['size'])}"
    besides = ours - steps["launch"]
    if "peer" not in case:
        figure = f"{besides:.1f} s, and {steps['launch']:.1f} s of launch"
        yield Row(f"{what}, besides the launch", figure, goal=f"<= {BESIDES:g} s", reached=besides <= BESIDES)
        return
    peer = case["peer"]
    theirs = case["tools"]["virt-v2v"]["median_s"] - peer["copy"]
    yield Row(
        what, f"{ours:.1f} s ({steps['launch']:.1f} s of launch)", "virt-v2v, run once, copying left out",
        f"{theirs:.0f} s ({peer['initramfs']:.0f} s in the guest's initramfs tool)",
        f"{theirs / ours:.1f} x", f">= {CONVERSION:g} x", theirs / ours >= CONVERSION,
    )  # fmt: skip


def of_its_own(case: dict[str, Any]) -> Iterator[Row]:
    """Suites that are no race of copies."""
    if "disks" in case:
        yield at_once(case)
    elif "first_read_s" in case:
        yield start_up(case)
    elif "steps" in case:
        yield from conversion(case)
    elif "phases" in case:
        yield from changed_areas(case)


def facts(machine: dict[str, Any]) -> str:
    memory = human(machine["memory_kib"] * KiB)
    return (
        f"{machine['cpus']} CPUs ({machine['cpu']['brand_raw']}), {memory} of memory, "
        f"Linux {machine['kernel']}, Python {machine['python_version']}, {', '.join(machine['tools'])}; "
        f"{machine['date']}. "
        "Medians of five interleaved rounds, whole processes, contents compared. "
        "Latency is simulated: ratios are meant, no claim is made about a real ESXi."
    )


def main() -> int:
    machine, cases = newest(HERE / "results")
    if not cases:
        print("bench/results holds no result of these suites: run make bench", file=sys.stderr)
        return 2
    found = list(rows(list(cases.values())))
    whole = page_of(found, machine)
    (HERE / "TABLE.md").write_text(whole)
    chosen = [row for row in found if row.goal or row.measure.startswith(SHOWN)]
    README.write_text(shown_in(README.read_text(), page_of(chosen, machine)))
    print(whole, end="")
    return 0


def page_of(chosen: list[Row], machine: dict[str, Any]) -> str:
    table = [line(*HEADER), line(*["---"] * len(HEADER)), *map(str, chosen)]
    return "\n".join([*table, "", facts(machine), ""])


def shown_in(page: str, table: str) -> str:
    """The page with the table between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{table}{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
