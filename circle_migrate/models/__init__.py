"""SQLAlchemy models of the platform's two schemas: `main` (community) and `credentials` (secrets).

A package has its own `metadata`, because a database has its own server: foreign keys, joins and transactions
cannot span both. The only relation is `user_credentials.user_id = users.id`.
"""
