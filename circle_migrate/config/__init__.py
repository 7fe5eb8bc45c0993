"""Settings of flags, environment, files and defaults, with the source of each value."""
