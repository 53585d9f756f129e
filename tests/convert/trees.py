"""Phony guests: the files that name a guest's NICs, as each family of distributions has them, and no others.

A family is its files, its NICs as VMware has them, and the name that each NIC had.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from convert.linux.interfaces import Clues, Nic
from convert.linux.resolver import resolve
from convert.linux.stacks import clues
from convert.linux.stacks.reading import Reader
from tests.convert.memory import Memory

A, B, C = "00:50:56:00:00:01", "00:50:56:00:00:02", "00:50:56:00:00:03"
ONE = (Nic(A, slot=192),)
TWO = (Nic(A, slot=192), Nic(B, slot=224))
ENS = {A: "ens192"}
BOTH_ENS = {A: "ens192", B: "ens224"}
ETH = {A: "eth0", B: "eth1"}

SCRIPTS = "/etc/sysconfig/network-scripts/ifcfg-"
SUSE = "/etc/sysconfig/network/ifcfg-"
PERSISTENT = "/etc/udev/rules.d/70-persistent-net.rules"
NETPLAN = "/etc/netplan/50-cloud-init.yaml"
KEYFILES = "/etc/NetworkManager/system-connections/"
NETWORKD = "/etc/systemd/network/"
IFUPDOWN = "/etc/network/interfaces"
GRUB = "/boot/grub/grub.cfg"
GRUB2 = "/boot/grub2/grub.cfg"


@dataclass(frozen=True)
class Family:
    files: dict[str, str]
    nics: tuple[Nic, ...] = TWO
    names: dict[str, str | None] = field(default_factory=lambda: BOTH_ENS)


def read(files: dict[str, str | bytes]) -> Clues:
    return clues(Reader(Memory(files)))


def resolved(files: dict[str, str | bytes], *nics: Nic) -> dict[str, str | None]:
    return {answer.mac: answer.name for answer in resolve(nics, read(files))}


def written(root: Path, files: dict[str, str | bytes]) -> Path:
    for path, content in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def rule(mac: str, name: str, driver: str = "?*") -> str:
    """As udev's generator of persistent names wrote it."""
    return (
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="{driver}", ATTR{{address}}=="{mac}", '
        f'ATTR{{dev_id}}=="0x0", ATTR{{type}}=="1", KERNEL=="eth*", NAME="{name}"\n'
    )


def grub(options: str) -> str:
    """A grub.cfg with an entry for every day and one for emergencies."""
    return (
        f"menuentry a {{\n\tlinux /vmlinuz ro {options}\n}}\nmenuentry b {{\n\tlinux /vmlinuz ro single\n}}\n"
    )


def keyfile(name: str, *more: str) -> str:
    return "\n".join(
        [
            "[connection]",
            "id=Wired",
            "type=ethernet",
            f"interface-name={name}",
            "[ipv4]",
            "method=auto",
            *more,
            "",
        ]
    )


FAMILIES = {
    "RHEL 6": Family(
        {
            PERSISTENT: f"# PCI device (vmxnet3)\n{rule(A, 'eth0')}{rule(B, 'eth1')}{rule(C, 'eth7')}",
            f"{SCRIPTS}eth0": f'DEVICE="eth0"\nHWADDR="{A.upper()}"\nONBOOT="yes"\nBOOTPROTO="dhcp"\n',
            f"{SCRIPTS}eth1": "DEVICE=eth1\nONBOOT=yes\nIPADDR=192.0.2.7\nNETMASK=255.255.255.0\n",
            f"{SCRIPTS}lo": "DEVICE=lo\nIPADDR=127.0.0.1\n",
        },
        names=ETH,
    ),
    "RHEL 7": Family(
        {
            f"{SCRIPTS}ens192": 'TYPE="Ethernet"\nNAME="ens192"\nDEVICE="ens192"\nBOOTPROTO="dhcp"\n',
            f"{SCRIPTS}ens224": "TYPE=Ethernet\nNAME=backup\nDEVICE=ens224\nIPADDR=192.0.2.7\nPREFIX=24\n",
            GRUB2: grub("rhgb quiet"),
        }
    ),
    "CentOS 7, kernel names": Family(
        {
            f"{SCRIPTS}eth0": "DEVICE=eth0\nBOOTPROTO=dhcp\n",
            f"{SCRIPTS}eth1": "DEVICE=eth1\nBOOTPROTO=dhcp\n",
            GRUB2: grub("net.ifnames=0 biosdevname=0").replace("linux", "linux16"),
        },
        names=ETH,
    ),
    "RHEL 8": Family(
        {
            f"{SCRIPTS}ens192": "TYPE=Ethernet\nDEVICE=ens192\nONBOOT=yes\n",
            f"{KEYFILES}ens224.nmconnection": keyfile("ens224"),
            "/boot/loader/entries/x.conf": "title RHEL\nlinux /vmlinuz\noptions $kernelopts $tuned_params\n",
            "/boot/grub2/grubenv": "# GRUB Environment Block\nkernelopts=root=/dev/sda2 ro\n####\n",
        }
    ),
    "RHEL 9": Family(
        {
            f"{KEYFILES}ens192.nmconnection": keyfile("ens192", "address1=192.0.2.7/24,192.0.2.1"),
            f"{KEYFILES}b.nmconnection": keyfile("ens224", "[ethernet]", f"mac-address={B.upper()}"),
            f"{SCRIPTS}readme": "no file of an interface\n",
            "/boot/loader/entries/x.conf": "title RHEL\nlinux /vmlinuz\noptions root=/dev/sda2 ro\n",
        }
    ),
    "RHEL 10": Family(
        {
            f"{KEYFILES}ens192.nmconnection": keyfile("ens192"),
            f"{KEYFILES}ens224.nmconnection": keyfile("ens224"),
            "/etc/kernel/cmdline": "root=/dev/sda2 ro\n",
        }
    ),
    "AlmaLinux 9, cloud image": Family(
        {
            f"{KEYFILES}cloud-init-eth0.nmconnection": keyfile("eth0", "[ethernet]", f"mac-address={A}"),
            "/boot/loader/entries/x.conf": "linux /vmlinuz\noptions ro net.ifnames=0\n",
        },
        ONE,
        {A: "eth0"},
    ),
    "openEuler 22.03": Family(
        {f"{SCRIPTS}ens192": "TYPE=Ethernet\nBOOTPROTO=dhcp\nNAME=ens192\nDEVICE=ens192\nONBOOT=yes\n"},
        ONE,
        ENS,
    ),
    "SLES 11": Family(
        {
            PERSISTENT: rule(A, "eth0", "vmxnet3") + rule(B, "eth1", "vmxnet3"),
            f"{SUSE}eth0": "BOOTPROTO='static'\nIPADDR='192.0.2.7/24'\nNAME='VMware VMXNET3'\n",
            f"{SUSE}eth1": "BOOTPROTO='dhcp4'\n",
        },
        names=ETH,
    ),
    "SLES 12": Family(
        {
            f"{SUSE}eth0": "IPADDR='192.0.2.7/24'\nIPADDR_0='192.0.2.8/24'\nLABEL_0='0'\nSTARTMODE='auto'\n",
            f"{SUSE}eth1": "BOOTPROTO='dhcp'\n",
            f"{SUSE}lo": "IPADDR='127.0.0.1/8'\n",
        },
        (Nic(A, ("192.0.2.8",), 192), Nic(B, ("198.51.100.4",), 224)),
        ETH,
    ),
    "SLES 15": Family(
        {
            f"{SUSE}eth0": "BOOTPROTO='dhcp'\n",
            f"{SUSE}eth1": "BOOTPROTO='dhcp'\n",
            PERSISTENT: rule(B, "eth1") + rule(A, "eth0"),
            "/var/lib/wicked/lease-eth1-dhcp-ipv4.xml": "<lease><address>192.0.2.9</address></lease>",
        },
        names=ETH,
    ),
    "Amazon Linux 2": Family(
        {
            f"{SCRIPTS}eth0": "DEVICE=eth0\nBOOTPROTO=dhcp\nPERSISTENT_DHCLIENT=yes\n",
            GRUB2: grub("console=tty0 net.ifnames=0 biosdevname=0"),
        },
        ONE,
        {A: "eth0"},
    ),
    "Amazon Linux 2023": Family(
        {
            f"{NETWORKD}10-cloud-init-ens192.network": f"[Match]\nMACAddress={A}\nName=ens192\n"
            "[Network]\nDHCP=ipv4\n"
        },
        ONE,
        ENS,
    ),
    "Photon 3": Family(
        {
            f"{NETWORKD}99-dhcp-en.network": "[Match]\nName=e*\n\n[Network]\nDHCP=yes\n",
            GRUB2: "menuentry Photon {\n linux /boot/$photon_linux $photon_cmdline $systemd_cmdline\n}\n",
            "/boot/photon.cfg": "photon_cmdline=ro loglevel=3\nphoton_linux=vmlinuz\n",
            "/boot/systemd.cfg": "systemd_cmdline=net.ifnames=0\n",
        },
        names=ETH,
    ),
    "Photon 5, static": Family(
        {f"{NETWORKD}10-static.network": "[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.7/24\n"},
        ONE,
        {A: "eth0"},
    ),
    "Arch, networkd": Family(
        {
            f"{NETWORKD}20-wired.network": "[Match]\nName=ens192\n\n[Network]\nDHCP=yes\n",
            f"{NETWORKD}30-any.network": "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n",
        }
    ),
    "Arch, netctl": Family(
        {
            "/etc/netctl/lan": "Interface=ens192\nConnection=ethernet\nIP=static\n"
            "Address=('192.0.2.7/24' '192.0.2.8/24')\n",
            "/etc/netctl/up": 'Interface=uplink\nConnection=bond\nBindsToInterfaces=(ens192 "ens224")\n',
        }
    ),
    "Alpine": Family(
        {
            IFUPDOWN: "auto eth0\niface eth0\n\taddress 192.0.2.7/24\nauto eth1\niface eth1 inet dhcp\n",
            "/etc/mdev.conf": "-net/.* root:root 0600\n",
            "/boot/extlinux.conf": "LABEL lts\n  LINUX vmlinuz-lts\n  APPEND root=UUID=x modules=ext4\n",
        },
        names=ETH,
    ),
    "Ubuntu 18.04": Family(
        {
            NETPLAN: "network:\n  version: 2\n  ethernets:\n    ens192: {dhcp4: true}\n"
            "    ens224:\n      addresses: [192.0.2.7/24]\n"
        }
    ),
    "Ubuntu 20.04": Family(
        {
            NETPLAN: "network:\n  ethernets:\n"
            f"    ens192:\n      match: {{macaddress: '{A}'}}\n      set-name: ens192\n"
            f"    id1:\n      match: {{macaddress: {B}}}\n      set-name: ens224\n  version: 2\n"
        }
    ),
    "Ubuntu 22.04, NetworkManager": Family(
        {
            "/etc/netplan/01-all.yaml": "network:\n  version: 2\n  renderer: NetworkManager\n",
            f"{KEYFILES}Wired connection 1.nmconnection": keyfile("ens192"),
        },
        ONE,
        ENS,
    ),
    "Ubuntu 24.04": Family(
        {
            NETPLAN: "network: {version: 2, ethernets: {ens192: {dhcp4: true}}}\n",
            "/etc/netplan/90-NM-1.yaml": "network:\n  ethernets:\n    NM-1:\n      match: {name: ens224}\n",
        }
    ),
    "Debian 10": Family(
        {
            IFUPDOWN: "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n"
            "allow-hotplug ens192\niface ens192 inet dhcp\n",
            "/etc/network/interfaces.d/backup": "iface ens224 inet static\n  address 192.0.2.7/24\n",
        }
    ),
    "Debian 11, kernel names": Family(
        {
            IFUPDOWN: "allow-hotplug eth0\niface eth0 inet dhcp\nauto eth1\niface eth1 inet6 auto\n",
            GRUB: grub("net.ifnames=0"),
        },
        names=ETH,
    ),
    "Debian 12, cloud image": Family(
        {
            GRUB: grub("quiet"),
            NETPLAN: "network:\n  version: 2\n  ethernets:\n    all-en:\n"
            "      match: {name: 'en*'}\n      dhcp4: true\n"
            "    all-eth:\n      match: {name: 'eth*'}\n      dhcp4: true\n",
        }
    ),
    "Debian 13, networkd": Family(
        {
            f"{NETWORKD}10-lan.link": f"[Match]\nPermanentMACAddress={A}\n\n[Link]\nName=lan0\n",
            f"{NETWORKD}10-lan.network": "[Match]\nName=lan0\n\n[Network]\nAddress=192.0.2.7/24\n",
            f"{NETWORKD}20-wan.network": "[Match]\nName=ens224\n\n[Network]\nDHCP=yes\n",
        },
        names={A: "lan0", B: "ens224"},
    ),
}
