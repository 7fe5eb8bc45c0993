"""What a database consists of, read from PostgreSQL's catalogues in a handful of statements.

Whatever is there is described by SQL alone, one query per file in `sql/`: a row is an object, its columns
are the fields of a snapshot. Nothing is written, no table is read but the version table, and CONNECT is
enough, also on a standby.
"""
