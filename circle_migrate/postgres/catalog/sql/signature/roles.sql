SELECT 0, hashtext(rolname), NULL, NULL FROM pg_roles
