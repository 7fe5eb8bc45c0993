"""What a database consists of, read from PostgreSQL's catalogs; one query per file in `sql/`."""
