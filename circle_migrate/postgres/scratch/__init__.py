"""Scratch databases: new, empty, dropped after use; `providers` says where they are made."""
