"""JSON Schemas (draft 2020-12) of what `--format json` writes, one file per definition."""
