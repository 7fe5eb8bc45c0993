"""Results as people read them: tables on a terminal, aligned plain lines in a pipe."""
