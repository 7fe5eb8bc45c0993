"""The platform's two schemas as SQLAlchemy models: `main` (the community) and `credentials` (the secrets).

Each package has a `metadata` of its own, because each database has a server of its own: no foreign key, no
join and no transaction reaches across. The one link is a number, `user_credentials.user_id = users.id`.
"""
