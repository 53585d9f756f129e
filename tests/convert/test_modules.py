"""Which files a driver needs, by the indexes of depmod."""

from convert.modules import Modules, name_of

MODULES = Modules.parse(
    dep=(
        "kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko\n"
        "kernel/drivers/virtio/virtio.ko:\n"
        "kernel/drivers/net/virtio-net.ko.xz: kernel/net/failover.ko.xz\n"
        "kernel/net/failover.ko.xz: kernel/drivers/virtio/virtio.ko\n"
        "../../../etc/shadow:\n"
        "/etc/shadow: kernel/x.ko\n"
    ),
    builtin="kernel/drivers/virtio/virtio_pci.ko\n",
)


def test_names_are_compared_as_modprobe_does():
    assert name_of("kernel/drivers/net/virtio-net.ko.xz") == name_of("virtio_net") == "virtio_net"


def test_a_driver_brings_everything_it_depends_on():
    assert MODULES.closure(("virtio_net",)) == (
        "kernel/drivers/net/virtio-net.ko.xz",
        "kernel/drivers/virtio/virtio.ko",
        "kernel/net/failover.ko.xz",
    )


def test_what_is_compiled_in_needs_no_file():
    assert MODULES.known("virtio_pci")
    assert MODULES.closure(("virtio_pci",)) == ()


def test_an_unknown_driver_is_unknown():
    assert not MODULES.known("nvme")


def test_paths_that_leave_the_folder_are_ignored():
    assert not any("shadow" in path for path in MODULES.needs)
