"""`graph`: diagrams of revisions and tables."""
