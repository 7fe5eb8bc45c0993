"""Data that `downgrade --keep` copies aside and the next upgrade puts back."""
