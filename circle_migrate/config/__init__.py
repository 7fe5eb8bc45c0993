"""Settings from flags, environment, files and defaults, with the source of every value."""
