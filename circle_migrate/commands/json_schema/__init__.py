"""JSON Schemas (draft 2020-12) of the output of `--format json`, one file per definition."""
