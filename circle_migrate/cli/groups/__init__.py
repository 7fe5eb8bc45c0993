"""Typer declarations of the commands, one module per group."""
