"""Facts about a live database before a plan runs there: sizes, rows in the way, and who holds locks.

An answer that could not be had is unknown, and never taken for a good one. The probes are derived from the
trace of a plan without a database.
"""
