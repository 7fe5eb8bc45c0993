"""What PostgreSQL does when a plan runs on a scratch database."""
