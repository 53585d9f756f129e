# Makes one layout of storage on whole disks: `sh layouts.sh NAME DISK...`, inside an appliance.
# Volumes, arrays and containers are closed at its end, as the disks of a VM that is off are.
set -e
name=$1; a=$2; b=$3
PBKDF="--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
mkdir -p /mnt

ext4() { mkfs.ext4 -q -F "$@"; }

# plant FOLDER NAME < fstab: the files that make a root.
plant() {
    mkdir -p "$1/etc" "$1/boot/efi" "$1/usr" "$1/var"
    printf 'ID=phony\nPRETTY_NAME="%s"\n' "$2" > "$1/etc/os-release"
    echo "$2" > "$1/etc/hostname"
    cat > "$1/etc/fstab"
}

# root DEVICE NAME < fstab
root() { mount "$1" /mnt; plant /mnt "$2"; umount /mnt; }

# mark DEVICE NAME: what a mounted part of a system is told by.
mark() { mount "$1" /mnt; touch "/mnt/this-is-$2"; umount /mnt; }

uuid() { blkid -p -s UUID -o value "$1"; }

array() { made=$1; shift; mdadm -q --create "/dev/md/$made" --run --homehost=host "$@" > /dev/null 2>&1; }

parts() {
    printf 'label: gpt\nsize=8MiB,type=U\nsize=12MiB,type=L\nsize=24MiB,type=L\nsize=16MiB,type=L,name=usr\n' | sfdisk -q "$a"
    udevadm settle
    mkfs.vfat -n ESP "${a}1" > /dev/null; ext4 "${a}2"; ext4 "${a}3"; ext4 "${a}4"
    mark "${a}1" esp; mark "${a}2" boot; mark "${a}4" usr
    mount "${a}2" /mnt; mkdir /mnt/efi; umount /mnt
    root "${a}3" parts << FSTAB
/dev/sda3 / ext4 defaults 0 1
LABEL=ESP /boot/efi vfat
PARTUUID=$(blkid -p -s PART_ENTRY_UUID -o value "${a}2") /boot/ ext4
PARTLABEL=usr /usr ext4
LABEL=lost /var ext4
FSTAB
}

lvm() {
    vgcreate -q vg-a "$a"; lvcreate -q -L 320M -n root vg-a; lvcreate -q -L 16M -n var vg-a
    mkfs.xfs -q /dev/vg-a/root; ext4 /dev/vg-a/var
    mark /dev/vg-a/var var
    printf '/dev/mapper/vg--a-root / xfs\n/dev/vg-a/var /var ext4\n' | root /dev/vg-a/root lvm
    vgchange -q -an vg-a
}

lvm_on_luks() {
    printf ',16MiB\n,\n' | sfdisk -q "$a"
    udevadm settle
    ext4 "${a}1"; mark "${a}1" boot
    cryptsetup -q luksFormat --type luks2 $PBKDF "${a}2" /run/key
    cryptsetup open --key-file /run/key "${a}2" inside
    vgcreate -q vgb /dev/mapper/inside; lvcreate -q -L 16M -n root vgb; ext4 /dev/vgb/root
    printf '/dev/vgb/root / ext4\nUUID="%s" /boot ext4\n' "$(uuid "${a}1")" | root /dev/vgb/root lvm-on-luks
    vgchange -q -an vgb; cryptsetup close inside
}

luks_on_lvm() {
    vgcreate -q vgc "$a"; lvcreate -q -L 40M -n crypt vgc
    cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 /dev/vgc/crypt /run/key
    cryptsetup open --key-file /run/key /dev/vgc/crypt inside; ext4 /dev/mapper/inside
    printf '/dev/mapper/rooted / ext4\n' | root /dev/mapper/inside luks-on-lvm
    mount /dev/mapper/inside /mnt; echo 'rooted /dev/mapper/vgc-crypt none luks' > /mnt/etc/crypttab; umount /mnt
    cryptsetup close inside; vgchange -q -an vgc
}

mirror() {
    array host:0 --level=1 --raid-devices=2 --metadata=1.2 "$a" "$b"
    mdadm --wait /dev/md/host:0 || :
    ext4 /dev/md/host:0
    printf '/dev/md0 / ext4\n' | root /dev/md/host:0 mirror
    mdadm -q --stop /dev/md/host:0
}

half_a_mirror() {
    array host:half --level=1 --raid-devices=2 --metadata=1.2 "$a" missing
    ext4 /dev/md/host:half
    printf '/dev/md/half / ext4\n' | root /dev/md/host:half half-a-mirror
    mdadm -q --stop /dev/md/host:half
}

# As Debian's family lays it out, with snapshots and with an old root beside the right one.
btrfs_by_fstab() {
    mkfs.btrfs -q "$a" 2> /dev/null; mount "$a" /mnt
    for made in @ @var; do btrfs subvolume create "/mnt/$made" > /dev/null; done
    touch /mnt/@var/this-is-var
    printf 'UUID=%s / btrfs noatime,subvol=/@ 0 0\nUUID=%s /var btrfs subvol=@var\n' "$(uuid "$a")" "$(uuid "$a")" \
        | plant /mnt/@ btrfs-by-fstab
    mkdir -p /mnt/@/.snapshots/1
    btrfs subvolume snapshot /mnt/@ /mnt/@/.snapshots/1/snapshot > /dev/null
    btrfs subvolume snapshot -r /mnt/@ /mnt/before-update > /dev/null
    btrfs subvolume snapshot /mnt/@ /mnt/a-copy > /dev/null
    umount /mnt
}

# As SUSE lays it out: the root is the snapper snapshot that is mounted by default.
btrfs_by_default() {
    mkfs.btrfs -q "$a" 2> /dev/null; mount "$a" /mnt
    btrfs subvolume create /mnt/@ > /dev/null
    mkdir -p /mnt/@/.snapshots/1 /mnt/@/.snapshots/2
    btrfs subvolume create /mnt/@/.snapshots/1/snapshot > /dev/null
    printf 'UUID=%s / btrfs defaults 0 0\n' "$(uuid "$a")" | plant /mnt/@/.snapshots/1/snapshot btrfs-by-default
    btrfs subvolume snapshot /mnt/@/.snapshots/1/snapshot /mnt/@/.snapshots/2/snapshot > /dev/null
    btrfs subvolume set-default /mnt/@/.snapshots/1/snapshot
    umount /mnt
}

# Copied while mounted, as a running VM's disk is: the journal is yet to be replayed.
dirty() {
    ext4 "$a"
    printf '/dev/sda / ext4\n' | root "$a" dirty
    mount "$a" /mnt; touch /mnt/etc/late; sync -f /mnt; dd if="$a" of="$b" bs=1M status=none
    umount /mnt; wipefs -q -a "$a"
}

dirty_data() {
    ext4 "$a"
    mount "$a" /mnt; touch /mnt/data; sync -f /mnt; dd if="$a" of="$b" bs=1M status=none
    umount /mnt; wipefs -q -a "$a"
}

damaged() {
    ext4 "$a"
    printf '/dev/sda / ext4\n' | root "$a" damaged
    debugfs -w -R 'clri /etc/hostname' "$a" 2> /dev/null
}

faulty_data() { ext4 "$a"; debugfs -w -R 'ssv state 2' "$a" 2> /dev/null; }

unreadable() { ext4 "$a"; debugfs -w -R 'clri <2>' "$a" 2> /dev/null; }

not_utf8() {
    ext4 -L "$(printf 'l\377')" "$a"
    printf '/dev/sda / ext4\n' | root "$a" not-utf8
    mount "$a" /mnt; touch "/mnt/etc/$(printf 'b\377')"; ln -s "$(printf '\377')" /mnt/etc/link; umount /mnt
}

encrypted() { cryptsetup -q luksFormat --type luks2 $PBKDF "$a" /run/other; }

half_a_stripe() {
    array host:9 --level=0 --raid-devices=2 --metadata=1.2 "$a" "$b"
    mdadm -q --stop /dev/md/host:9; wipefs -q -a "$b"
}

half_a_group() {
    vgcreate -q vgd "$a" "$b"; lvcreate -q -l '100%FREE' -n root vgd
    vgchange -q -an vgd; wipefs -q -a "$b"
}

twin_groups() {
    vgcreate -q vge "$a"; lvcreate -q -L 8M -n root vge; vgchange -q -an vge
    dd if="$a" of="$b" bs=1M status=none
}

gpt_garbage() {
    echo ',8MiB' | sfdisk -q -X gpt "$a"
    last=$(($(blockdev --getsz "$a") - 33))
    for at in 1 $last; do dd if=/dev/urandom of="$a" bs=512 seek="$at" count=33 status=none; done
    blockdev --rereadpt "$a"
}

blank() { :; }

data() { ext4 "$a"; mark "$a" data; }

"$name"
udevadm settle
