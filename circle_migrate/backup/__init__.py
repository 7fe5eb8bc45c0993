"""Dump and restore of all databases of a deployment from one consistent snapshot."""
