"""New revisions from the models: what they have to do, worked out on scratch databases, and their files."""
