"""Boot loaders: which one runs, and what it starts, read from the files that distributions write."""

from __future__ import annotations

import struct
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.bootloader import Boot, Entry, survey
from convert.loaders import grubenv
from convert.loaders.menu import LIMIT, version_key
from tests.convert.families import FAMILIES
from tests.convert.families.parts import environment
from tests.convert.memory import Memory
from transferd.errors import ConversionError
from transferd.model import Firmware


def default(boot):
    (found,) = [entry for entry in boot.entries if entry.default]
    return found


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_familys_menu_is_read(family):
    tree = family.tree()
    boot = survey(tree, family.firmware, family.esp)

    assert boot.loaders == family.loaders
    assert len(boot.entries) == family.entries
    assert family.root in default(boot).options
    for entry in boot.entries:
        assert tree.exists(entry.file)
        assert tree.exists(entry.kernel)
        assert entry.initrds
        assert all(tree.exists(initrd) for initrd in entry.initrds)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_file_with_a_command_line_is_listed_once(family):
    tree = family.tree()
    configs = survey(tree, family.firmware, family.esp).configs

    assert len(set(configs)) == len(configs)
    for path, content in tree.content.items():
        if path.startswith(("/boot", "/etc")) and b"root=UUID" in content:
            assert path in configs


def grub(script: str, **files) -> Memory:
    kernels = {f"/boot/{name}": "" for name in ("a", "b", "c", "i")}
    return Memory({"/boot/grub/grub.cfg": script, **kernels, **files})


def started(tree: Memory, firmware: Firmware = Firmware.BIOS) -> str | None:
    found = survey(tree, firmware, None).default
    return found and found.kernel


MENU = """\
menuentry 'First' --class a --id one { linux /a ro; initrd /i; }
submenu "More >" --id more {
  menuentry "Second" $menuentry_id_option 'two' {
    linux /b ro
  }
  menuentry 'Third' {
    linux /c ro
  }
}
"""


@pytest.mark.parametrize(
    ("default", "kernel"),
    [
        ("0", "/boot/a"),
        ("First", "/boot/a"),
        ("one", "/boot/a"),
        ("1", "/boot/b"),
        ("1>1", "/boot/c"),
        ("more>two", "/boot/b"),
        ("more>Third", "/boot/c"),
        ("more>9", "/boot/b"),
        ("9", "/boot/a"),
        ("nothing of the kind", "/boot/a"),
        ("9" * 5000, "/boot/a"),
        ("", "/boot/a"),
    ],
)
def test_grubs_default_is_an_index_a_title_or_an_id(default, kernel):
    head = "set menuentry_id_option=--id\n"

    assert started(grub(f"{head}set default='{default}'\n{MENU}")) == kernel


@pytest.mark.parametrize(
    ("script", "kernel"),
    [
        (
            'set x=b\nif [ "$x" = b ]; then linux_="/b"; else linux_="/a"; fi\nmenuentry t { linux $linux_;}',
            "/boot/b",
        ),
        ("if [ -z '' ]\nthen\n k=/b\nelif [ -n 1 ]; then k=/a\nfi\nmenuentry t {\n linux $k\n}", "/boot/b"),
        ("if [ ! a = b -a x ]; then k=/b; else k=/a; fi\nmenuentry t {\nlinux ${k}\n}", "/boot/b"),
        ('if [ "" ]; then\n if [ x ]; then k=/a; fi\nelse k=/b; fi\nmenuentry t { linux $k;}', "/boot/b"),
        (
            "function f {\n if [ x ]; then\n menuentry wrong { linux /a;}\n fi\n}\nmenuentry t { linux /b;}",
            "/boot/b",
        ),
        ("menuentry t { # comment {\n linux \\\n  /b  # more\n}", "/boot/b"),
        ("menuentry 'a;b' {\n linux '/b' \"root=$nothing x\" $nothing y\\ z\n}", "/boot/b"),
        ("menuentry t {\n linux (hd0,gpt2)/b\n}", "/boot/b"),
        ("menuentry t {\n linux /@/boot/b\n}", "/boot/b"),
        ("menuentry t {\n linux /@boot/b\n}", "/boot/b"),
        ("menuentry t { multiboot /xen;}\nset default=1\nmenuentry u { linux /b;}", "/boot/b"),
        ("source /more.cfg", "/boot/b"),
        ("source $prefix/custom.cfg", "/boot/c"),
    ],
)
def test_a_grub_script_is_read_as_grub_would_run_it(script, kernel):
    files = {
        "/boot/more.cfg": "menuentry t { linux /b;}",
        "/boot/grub/custom.cfg": "menuentry t { linux /c;}",
    }

    assert started(grub(script, **files)) == kernel


def test_variables_come_from_the_environment_block_and_go_into_the_command_line():
    script = "load_env\nmenuentry t {\n linux /a root=$where $more 'as it is: $where'\n}\n"
    block = environment(where="UUID=1", more="quiet splash", backslash="a\\\\b")
    (entry,) = survey(grub(script, **{"/boot/grub/grubenv": block}), Firmware.BIOS, None).entries

    assert entry.options == "root=UUID=1 quiet splash as it is: $where"
    assert grubenv.parse(block)["backslash"] == "a\\b"


def test_the_platform_decides_what_grub_reads():
    script = 'if [ "$grub_platform" = "efi" ]; then k=/a; else k=/b; fi\nmenuentry t { linux $k;}'

    assert started(grub(script), Firmware.EFI) == "/boot/a"
    assert started(grub(script), Firmware.BIOS) == "/boot/b"


def test_an_environment_block_stays_one_kibibyte_whatever_is_set():
    block = grubenv.edited(environment(saved_entry="old", other="kept"), "saved_entry", "a \\ b")

    assert len(block) == 1024
    assert grubenv.parse(block) == {"saved_entry": "a \\ b", "other": "kept"}
    assert len(grubenv.edited("", "saved_entry", "new")) == 1024


def test_entry_files_are_sorted_as_grub_sorts_them():
    names = ["m-5.14.0-70.el9", "m-5.14.0-503.el9", "m-0-rescue", "m-5.14.0-503.el9~rc1", "z"]
    files = {f"/boot/loader/entries/{name}.conf": f"title {name}\nlinux /a\n" for name in names}
    boot = survey(grub("blscfg\n", **files), Firmware.BIOS, None)

    assert [e.title for e in boot.entries] == [
        "z",
        "m-5.14.0-503.el9",
        "m-5.14.0-503.el9~rc1",
        "m-5.14.0-70.el9",
        "m-0-rescue",
    ]


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ("", "with key, new"),
        ("default b*\n", "b"),
        ("default b.conf\n", "b"),
        ("default b\n", "b"),
        ("default @saved\n", "with key, new"),
        ("default nothing\n", "with key, new"),
        ("#default b\ndefault a-1.conf\n", "a-1"),
    ],
)
def test_systemd_boot_sorts_and_chooses_as_it_says(settings, title):
    entries = {
        "a-1": "title a-1\n",
        "b": "title b\n",
        "k1": "title with key, old\nsort-key k\nversion 1\n",
        "k2": "title with key, new\nsort-key k\nversion 10\n",
    }
    files = {f"/efi/loader/entries/{name}.conf": f"{text}linux /k\n" for name, text in entries.items()}
    tree = Memory({**files, "/efi/k": "", "/efi/EFI/systemd/x.efi": "", "/efi/loader/loader.conf": settings})
    found = survey(tree, Firmware.EFI, "/efi")

    assert found.loaders == ("systemd-boot",)
    assert found.default.title == title
    assert found.default.kernel == "/efi/k"


def test_the_loader_that_the_firmware_falls_back_to_is_the_one_that_runs():
    files = {
        "/boot/grub/grub.cfg": "menuentry t { linux /a;}",
        "/boot/a": "",
        "/efi/EFI/systemd/systemd-bootx64.efi": "x",
        "/efi/loader/entries/s.conf": "linux /s\n",
    }
    mine = {**files, "/efi/EFI/BOOT/BOOTX64.EFI": "MZ #### LoaderInfo: systemd-boot 252 ####"}
    other = {**files, "/efi/EFI/BOOT/BOOTX64.EFI": "MZ shim"}

    assert survey(Memory(mine), Firmware.EFI, "/efi").loaders == ("systemd-boot", "grub2")
    assert survey(Memory(other), Firmware.EFI, "/efi").loaders == ("grub2", "systemd-boot")


def test_a_unified_kernel_image_is_its_own_entry():
    texts = {
        ".osrel": b'ID=arch\nPRETTY_NAME="Arch Linux"\n',
        ".uname": b"6.12.1",
        ".cmdline": b"root=UUID=1 rw\0",
    }
    tree = Memory({"/efi/EFI/Linux/arch.efi": program(texts)})
    boot = survey(tree, Firmware.EFI, "/efi")

    assert boot.loaders == ("uki",)
    assert boot.entries == (
        Entry(
            "/efi/EFI/Linux/arch.efi",
            "Arch Linux",
            "/efi/EFI/Linux/arch.efi",
            ("/efi/EFI/Linux/arch.efi",),
            "root=UUID=1 rw",
            default=True,
            key="arch.efi",
        ),
    )


def program(sections: dict[str, bytes]) -> bytes:
    """A PE file with these sections and nothing that runs."""
    start = 64 + 24 + 40 * len(sections)
    table, body = b"", b""
    for name, data in sections.items():
        place = struct.pack("<4I16x", len(data), 0, len(data), start + len(body))
        table += name.encode().ljust(8, b"\0") + place
        body += data
    header = b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, len(sections), 0, 0)
    return b"MZ".ljust(60, b"\0") + (64).to_bytes(4, "little") + header + table + body


@pytest.mark.parametrize(
    "text",
    [
        "DEFAULT b\nLABEL a\n LINUX a\nLABEL b\n KERNEL b\n APPEND x initrd=i,../i\n",
        "default b\nLabel b\nkernel ../boot/b\n",
    ],
)
def test_extlinux_names_files_from_its_own_folder(text):
    tree = Memory({"/boot/extlinux.conf": text, "/boot/a": "", "/boot/b": "", "/boot/i": "", "/i": ""})
    found = survey(tree, Firmware.BIOS, None).default

    assert found.kernel == "/boot/b"
    assert "initrd" not in found.options


def test_files_that_are_links_to_one_another_are_listed_once():
    tree = Memory(
        {"/boot/grub/grub.conf": "title t\nkernel /a\n", "/boot/efi/EFI/redhat/grubenv": ""},
        {"/boot/grub/menu.lst": "./grub.conf", "/boot/grub2/grubenv": "../efi/EFI/redhat/grubenv"},
    )

    assert survey(tree, Firmware.BIOS, None).configs == (
        "/boot/grub/grub.conf",
        "/boot/efi/EFI/redhat/grubenv",
    )


def test_a_guest_without_a_loader_has_none():
    assert survey(Memory({}), Firmware.BIOS, None) == Boot()


@pytest.mark.parametrize(
    "script",
    [
        "set a=xx\n" + 'set a="$a$a"\n' * 100_000,
        "set a=" + "x" * 10_000 + "\n" + "menuentry t { linux $a $a $a;}\n" * 400,
        "menuentry t { linux /a;}\n" * 1000,
        "submenu t {\n" * 1000,
        "source $config_file\n" * 100,
        "if [ " + "! " * 300_000 + "]; then\nfi\n",
        "'" * 500_001,
        '"\\' * 300_000,
        "\n" * 1_000_000,
        "{ } " * 200_000,
        "if x\n" * 100_000,
    ],
    ids=["doubling", "wide", "many", "deep", "itself", "not", "quotes", "escapes", "empty", "braces", "ifs"],
)
def test_a_script_made_to_exhaust_its_reader_is_refused_or_read_in_time(script):
    began = time.monotonic()
    with suppress(ConversionError):
        survey(grub(script[: 1 << 20]), Firmware.BIOS, None)
    assert time.monotonic() - began < 10


def test_more_entry_files_than_any_machine_has_are_refused():
    files = {f"/boot/loader/entries/{at}.conf": "linux /a\n" for at in range(LIMIT + 1)}

    with pytest.raises(ConversionError, match="more than 512 boot entries"):
        survey(grub("blscfg\n", **files), Firmware.BIOS, None)


@given(st.text(alphabet=st.sampled_from("abs{}[]$\"'\\;\n #=/>-mf"), max_size=200))
def test_no_script_breaks_the_reader(script):
    survey(grub(f"menuentry t {{ linux /a {script}\n}}\n{script}"), Firmware.BIOS, None)


@given(st.text(max_size=200))
def test_no_text_breaks_a_reader(text):
    places = [
        "/boot/grub/menu.lst",
        "/boot/extlinux.conf",
        "/efi/loader/loader.conf",
        "/efi/loader/entries/a.conf",
    ]
    tree = Memory({"/efi/EFI/systemd/x": "", **dict.fromkeys(places, f"title x\nkernel {text}\n{text}")})

    survey(tree, Firmware.EFI, "/efi")


@given(st.text(max_size=50), st.text(max_size=50))
def test_versions_have_an_order(one, other):
    assert (version_key(one) < version_key(other)) + (version_key(one) > version_key(other)) + (
        version_key(one) == version_key(other)
    ) == 1
