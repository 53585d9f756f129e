"""A copy as one page to look at: `--report FILE.html`.

    drawn      what the page needs to know of a copy
    series     its samples, as lines and as times when something went wrong
    chart      lines, bars and the map, as SVG
    document   the page around them
    markup     where a string becomes harmless; style: how it all looks

Self-contained: style and drawings are in it, nothing is fetched, nothing runs, and its content security
policy holds a browser to that. Pure, from values to text: the same copy gives the same page.
"""
