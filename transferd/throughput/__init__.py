"""`transferd bench`: how fast a real source can be read, with which settings, and what stands in the way.

A lap reads from the source for a second or two with fixed settings: so many sessions, so many reads in
flight on each, so many bytes a read. Three lines of laps cross the space, each answering one question:

    depth     1 session, 1 MiB, 1 to 64 in flight     does more in flight bring more?
    sessions  1, 2, 4, as many bytes in flight        is it the session that is full, or what lies behind it?
    size      64 KiB to 4 MiB, as many bytes in flight  what does a request cost?

From their shape, `limiter` says what limits (Little's law: bytes in flight = goodput x latency):

    goodput follows depth to the end, latency stays     the round trip: source-latency
    goodput stands, but follows the sessions            what one session keeps in flight: window
    goodput stands, whatever is asked                   bandwidth
    the host refuses more sessions or more in flight    host
    this machine has no CPU left, or the target is slower   cpu, target

Nothing is read twice while there are bytes that were not read yet, so that no cache answers; nothing is
written but a scratch file, where the target shall be measured too. Peers run between laps of ours on blocks
of their own, so that all of them meet the same minute of the source's day.
"""
