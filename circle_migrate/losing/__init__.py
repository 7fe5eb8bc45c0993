"""How `losses` finds what a downgrade takes away, and counts it.

watching     catalogues compared by the identity of objects, while the downgrade runs on a scratch database
foretelling  what the trace of that run says about rows: deleted, changed, altered, in the way
rehearsing   the downgrade on the live databases, rolled back
listing      all of it as losses, by the names people type
counting     how much there is of each, asked of the live databases, read only
partners     rows of the other database that would belong to nothing
"""
