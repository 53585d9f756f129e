"""Menus as the tools of boot loaders write them: grub-mkconfig of two families, and entry files."""

from __future__ import annotations

from tests.convert.families.parts import BOOT, MACHINE, ROOT

STUB = (
    f"search --no-floppy --fs-uuid --set=dev {BOOT}\n"
    "set prefix=($dev)/grub2\nexport $prefix\nconfigfile $prefix/grub.cfg\n"
)
DEBIAN_STUB = f"search.fs_uuid {ROOT} root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"

# The head that grub2-mkconfig of the Red Hat family writes.
RED_HAT_HEAD = """\
set pager=1
if [ -f ${config_directory}/grubenv ]; then
  load_env -f ${config_directory}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${saved_entry}"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi

export menuentry_id_option

if [ "${prev_saved_entry}" ]; then
  set saved_entry="${prev_saved_entry}"
  save_env saved_entry
  set prev_saved_entry=
  save_env prev_saved_entry
  set boot_once=true
fi

function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    save_env saved_entry
  fi
}

function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
  fi
}
terminal_output console
if [ x$feature_timeout_style = xy ] ; then
  set timeout_style=menu
  set timeout=5
else
  set timeout=5
fi
"""
BLS_TAIL = """\
insmod part_gpt
if [ -z "${kernelopts}" ]; then
  set kernelopts="root=UUID=ROOT ro "
fi
insmod blscfg
blscfg
if [ "$boot_success" = "1" -o "$boot_indeterminate" = "1" ]; then
  set menu_hide_ok=1
else
  set menu_hide_ok=0
fi
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
""".replace("ROOT", ROOT)
# As grub-mkconfig of the Debian family writes it.
DEBIAN_HEAD = """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="DEFAULT"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
if [ "${prev_saved_entry}" ]; then
  set saved_entry="${prev_saved_entry}"
  save_env saved_entry
fi
function gfxmode {
	set gfxpayload="${1}"
}
set linux_gfx_mode=
export linux_gfx_mode
"""


def red_hat_entry(title: str, version: str, command: str, options: str, *, initrd: str = "initrd") -> str:
    ident = f"gnulinux-{version}-advanced-{ROOT}"
    return (
        f"menuentry '{title}' --class red --class gnu-linux --class gnu --class os --unrestricted "
        f"$menuentry_id_option '{ident}' {{\n"
        "\tload_video\n\tset gfxpayload=keep\n\tinsmod gzio\n\tinsmod part_msdos\n\tinsmod xfs\n"
        f"\tset root='hd0,msdos1'\n\tif [ x$feature_platform_search_hint = xy ]; then\n"
        f"\t  search --no-floppy --fs-uuid --set=root --hint='hd0,msdos1'  {BOOT}\n\telse\n"
        f"\t  search --no-floppy --fs-uuid --set=root {BOOT}\n\tfi\n"
        f"\t{command} /vmlinuz-{version} {options}\n\t{initrd} /initramfs-{version}.img\n}}\n"
    )


def debian_menu(name: str, versions: tuple[str, ...], options: str, *, default: str = "0") -> str:
    """The simple entry and the submenu, which has a recovery entry a kernel."""

    def entry(title: str, ident: str, version: str, more: str) -> str:
        return (
            f"menuentry '{title}' --class debian --class gnu-linux --class gnu --class os "
            f"$menuentry_id_option '{ident}' {{\n"
            "\tload_video\n\tgfxmode $linux_gfx_mode\n\tinsmod gzio\n"
            "\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi\n\tinsmod ext2\n"
            f"\tsearch --no-floppy --fs-uuid --set=root {ROOT}\n\techo\t'Loading Linux {version} ...'\n"
            f"\tlinux\t/boot/vmlinuz-{version} root=UUID={ROOT} ro {more}\n"
            f"\techo\t'Loading initial ramdisk ...'\n\tinitrd\t/boot/initrd.img-{version}\n}}\n"
        )

    rows = [entry(name, f"gnulinux-simple-{ROOT}", versions[0], options)]
    rows.append(f"submenu 'Advanced options for {name}' $menuentry_id_option 'gnulinux-advanced-{ROOT}' {{\n")
    for version in versions:
        title = f"{name}, with Linux {version}"
        rows.append(entry(title, f"gnulinux-{version}-advanced-{ROOT}", version, options))
        rows.append(
            entry(f"{title} (recovery mode)", f"gnulinux-{version}-recovery-{ROOT}", version, "single")
        )
    firmware = (
        'if [ "$grub_platform" = "efi" ]; then\n\tfwsetup --is-supported\n\tif [ "$?" = 0 ]; then\n'
        "\t\tmenuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {\n"
        "\t\t\tfwsetup\n\t\t}\n\tfi\nfi\n"
    )
    return DEBIAN_HEAD.replace("DEFAULT", default) + "".join(rows) + "}\n" + firmware


def snippet(title: str, version: str, options: str, *more: str, name: str | None = None) -> dict[str, str]:
    path = f"/boot/loader/entries/{name or f'{MACHINE}-{version}'}.conf"
    lines = [
        f"title {title} ({version})",
        f"version {version}",
        f"linux /vmlinuz-{version}",
        f"initrd /initramfs-{version}.img $tuned_initrd",
        f"options {options}",
        "grub_users $grub_users",
        "grub_arg --unrestricted",
        "grub_class kernel",
        *more,
    ]
    return {path: "\n".join(lines) + "\n"}
