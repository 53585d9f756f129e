"""The whole plan, all steps, for a guest of each family that knows its disks by their old names."""

from __future__ import annotations

import pytest

from convert import pipeline
from convert.checks import converted
from convert.linux.devices import STEP, lost_names
from convert.report import Report
from tests.convert import trees
from tests.convert.family_cases import CASES, Case
from tests.convert.memory import Memory
from transferd.model import BlockBus

EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def drawn(case: Case, tree: Memory):
    report = Report(case.family.firmware, say=lambda _: None)
    inspection = case.inspected(tree)
    return inspection, pipeline.draw(tree, inspection, case.wishes(), report), report


@EVERY
def test_every_file_that_names_disks_is_changed_and_no_other(case):
    tree = case.tree()
    _, plan, _ = drawn(case, tree)
    changes = [change for change in plan.changes if change.step == STEP]
    after = tree.after(changes)

    assert {change.path for change in changes} == set(case.lines)
    for path, line in case.lines.items():
        assert (line is None) == (path not in after.content)
        assert line is None or line in after.content[path].decode()
    assert [warning for warning in plan.warnings if warning.code == "device-unresolved"] == []


@EVERY
def test_the_plan_brings_virtio_and_keeps_every_name(case):
    tree = case.tree()
    _, plan, report = drawn(case, tree)
    network = trees.FAMILIES[case.network]

    assert report.caps.block is BlockBus.VIRTIO
    assert {name.mac: name.name for name in plan.nics} == network.names
    assert [proof.version for proof in plan.proofs if proof.default] == [case.family.kernel]


@EVERY
def test_a_planned_guest_passes_the_checks_and_a_second_plan_is_empty(case):
    tree = case.tree()
    _, plan, _ = drawn(case, tree)
    after = tree.after(plan.changes)
    inspection, second, report = drawn(case, after)

    assert [change.path for change in second.changes] == []
    assert lost_names(after, inspection) == []
    checked = list(converted(after, inspection, second, report.result()))
    assert [(check.name, check.detail) for check in checked if not check.ok] == []
