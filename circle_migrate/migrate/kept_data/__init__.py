"""Data that `downgrade --keep` stores in side tables and the next upgrade restores."""
