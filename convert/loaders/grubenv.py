"""grub's environment block: variables that its menu keeps from one boot to the next.

A file of exactly 1024 bytes: a signature line, NAME=VALUE lines and `#` up to the end. grub writes it back
in place, sector by sector, so it refuses a file of another size (GRUB manual, "Environment block").
"""

from __future__ import annotations

from transferd.errors import ConversionError

SIZE = 1024
SIGNATURE = "# GRUB Environment Block"


def parse(content: str) -> dict[str, str]:
    """Values as they are; a backslash takes the next character as it stands."""
    pairs = [line.partition("=") for line in content.splitlines() if not line.startswith("#")]
    return {name: _unescaped(value) for name, equals, value in pairs if equals}


def edited(content: str, name: str, value: str) -> str:
    """`content` with one value set. Raises ConversionError where it does not fit the block."""
    lines = [line for line in content.splitlines() if line and not line.startswith("#")]
    escaped = value.replace("\\", "\\\\").replace("\n", "\\\n")
    at = next((at for at, line in enumerate(lines) if line.startswith(f"{name}=")), len(lines))
    lines[at : at + 1] = [f"{name}={escaped}"]
    comments = [line for line in content.splitlines() if line.startswith("# ")]
    text = "\n".join([*(comments or [SIGNATURE]), *lines, ""])
    length = len(text.encode("utf-8", "surrogateescape"))
    if length > SIZE:
        raise ConversionError(f"grub's environment block has no room for {name}", operation="plan")
    return text + "#" * (SIZE - length)


def _unescaped(value: str) -> str:
    return value if "\\" not in value else value.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")
