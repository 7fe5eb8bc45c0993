"""The revisions of the main database."""
