"""Results for people: tables on a terminal, aligned plain lines in a pipe."""
