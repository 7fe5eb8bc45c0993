"""The revisions of the platform's two databases, one folder each."""
