"""The revisions of the credentials database."""
