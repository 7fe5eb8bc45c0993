"""Planning and running revisions: one executor, one journal, one commit protocol."""
