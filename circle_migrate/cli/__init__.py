"""The command line: declarations by group, one boundary that runs, prints and ends."""
