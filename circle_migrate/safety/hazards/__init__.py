"""The catalog of known hazards, one record each."""
