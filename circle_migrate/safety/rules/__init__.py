"""Rules that turn evidence about a plan into findings."""
