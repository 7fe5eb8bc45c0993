"""Plan and run revisions: one executor, one journal, one commit protocol."""
