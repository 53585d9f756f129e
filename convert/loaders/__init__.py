"""Readers of boot loaders' configuration, one module a loader: what it can start, and what it starts first.

Each is pure: a Tree in, entries out. Which of the loaders is the one that runs is decided in
`convert.bootloader`. A loader's file is hostile text: no reader runs what is in it, follows it without an
end, or holds more of it than `menu.LIMIT` allows.
"""
