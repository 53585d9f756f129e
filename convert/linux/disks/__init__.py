"""Names of disks in a guest's files: which names do not survive the move, what each of them stood for, and
the edit for every file that has some. Which names these are says convert.hardware, what they meant
convert.placement.

    sightings    what the guest itself has written down of its disks
    names        from the old name to the lasting one; what could not be known
    files        every file that names disks, and the edit that knows its grammar
    the others   one grammar each
"""
