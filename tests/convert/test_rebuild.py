"""--rebuild-initramfs: the guest's own tool makes the image anew, after everything else, or all fails."""

from __future__ import annotations

import dataclasses

import pytest

from convert.linux import rebuild
from convert.linux.kernels import bring_virtio
from convert.pipeline import perform
from convert.tree import digest
from tests.convert.images import COMPRESSIONS, VIRTIO, main, root, unified
from tests.convert.memory import KERNEL, Memory, inspection, wishes
from transferd.errors import ConversionError

INITRD = "/boot/initrd.img"
LINK = "/etc/systemd/network/10-transferd-ens192.link"
HELD = tuple(VIRTIO)
COMMANDS = {
    "initramfs-tools": "update-initramfs -u -k 6.1.0-50-amd64",
    "dracut": "dracut --force /boot/initrd.img 6.1.0-50-amd64",
    "mkinitcpio": "mkinitcpio -P",
    "mkinitfs": "mkinitfs -o /boot/initrd.img 6.1.0-50-amd64",
    "mkinitrd": "mkinitrd -k /boot/vmlinuz -i /boot/initrd.img",
    "booster": "booster build --force --kernel-version 6.1.0-50-amd64 /boot/initrd.img",
    "make-initrd": "make-initrd -k 6.1.0-50-amd64",
}


def run(tree: Memory, tool: str | None = "dracut", **facts):
    return bring_virtio(tree, inspection(initramfs=tool, **facts), wishes(rebuild=True))


def runs(contribution) -> list:
    return [change for change in contribution.changes if change.action == "run"]


@pytest.mark.parametrize(("tool", "command"), COMMANDS.items())
def test_the_plan_shows_the_command(tool, command):
    tree = root({INITRD: main()}, **{"/etc/sysconfig/kernel": 'INITRD_MODULES=""\n'})
    contribution = run(tree, tool)
    (change,) = runs(contribution)

    assert change.document().content == command
    assert (change.path, change.before) == (INITRD, digest(tree.content[INITRD]))
    assert contribution.proofs[0].weakest == "appended"
    assert contribution.changes[0].action == "write"


def test_an_image_that_has_everything_is_not_made_anew():
    assert run(root({INITRD: main(modules=HELD)})).changes == ()


def test_an_image_that_cannot_be_read_or_extended_is_made_anew():
    for image in (b"broken", main(udev=False), COMPRESSIONS["lz4"](main()) + bytes(4)):
        assert len(runs(run(root({INITRD: image})))) == 1


def test_names_alone_are_a_reason_where_the_tool_takes_them_along():
    tree = root({INITRD: main(modules=HELD)}, **{LINK: "[Match]\n"})

    assert len(runs(run(tree, "dracut"))) == 1
    assert runs(run(tree, "mkinitrd")) == []


def test_every_kernel_is_served_and_a_command_for_all_of_them_runs_once():
    kernels = tuple(
        dataclasses.replace(KERNEL, version=version, initrd=f"/boot/initrd-{version}")
        for version in (KERNEL.version, "6.1.0-49-amd64")
    )
    tree = root({kernel.initrd: main() for kernel in kernels})

    assert [change.argv[-1] for change in runs(run(tree, kernels=kernels))] == [k.version for k in kernels]
    assert len(runs(run(tree, "mkinitcpio", kernels=kernels))) == 1


@pytest.mark.parametrize("tool", [None, "unheard-of"])
def test_without_a_tool_that_can_be_run_there_is_no_proof(tool):
    contribution = run(root({INITRD: main()}), tool)

    assert contribution.changes == ()
    assert "no initramfs tool that can be run" in contribution.proofs[0].problem


def test_a_unified_kernel_image_is_only_made_by_a_tool_that_does_so():
    path = "/boot/efi/EFI/Linux/arch.efi"
    kernels = (dataclasses.replace(KERNEL, image=path, initrd=None),)
    tree = root({path: unified(main())})

    assert [change.argv for change in runs(run(tree, "mkinitcpio", kernels=kernels))] == [
        ("mkinitcpio", "-P")
    ]
    assert "unified kernel image" in run(tree, "booster", kernels=kernels).proofs[0].problem


class Failing(Memory):
    """A guest whose tool fails as dracut does: many lines, the last one says why."""

    def run(self, argv, deadline):
        assert argv == ("dracut", "--force", INITRD, KERNEL.version)
        assert deadline == rebuild.DEADLINE
        raise ConversionError("command: dracut: dracut: Executing\ndracut: module \x1b[31mlvm is missing\n")


def test_a_tool_that_fails_ends_the_conversion_with_its_last_words():
    tree = root({INITRD: main()})
    (change,) = runs(run(tree))

    with pytest.raises(ConversionError) as failed:
        perform(Failing(tree.content), change)

    assert "failed in the guest: " in failed.value.problem
    assert failed.value.problem.endswith("lvm is missing")
    assert "\n" not in failed.value.problem
    assert "\x1b" not in str(failed.value)


def test_an_image_that_changed_since_the_plan_is_not_made_anew():
    tree = root({INITRD: main()})
    (change,) = runs(run(tree))
    tree.content[INITRD] += b"more"

    with pytest.raises(ConversionError, match="not what it was when the plan was made"):
        perform(Failing(tree.content), change)
