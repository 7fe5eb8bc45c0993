"""How a downgrade keeps what it would destroy, and the next upgrade puts it back.

    seeing        tables, columns and counters at one moment, and what two of them say a step takes
    copying       into side tables before the step, and less of it once it is known what the step took
    putting_back  from side tables, in the order of foreign keys, counted
    entries       the list of what is kept, beside the side tables
    hooks         all of it as part of a run of the executor

What a step destroys is not foretold. In the step's own transaction the step runs once and is rolled back to
a savepoint; the two catalogues and the transaction's own counters of rows say what to copy; then it runs
again, and what it took is compared with what was copied. What was not copied rolls everything back.
"""
