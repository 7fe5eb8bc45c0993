"""New revision files from the difference between models and revisions."""
