"""The tables that the examples are about, as SQL that makes and fills them."""

from __future__ import annotations

USERS = """
CREATE TABLE users (
    id bigint PRIMARY KEY,
    email varchar(100) NOT NULL,
    name text,
    age integer,
    created_at timestamp NOT NULL DEFAULT '2024-01-01'
);
INSERT INTO users (id, email, name, age)
SELECT n, 'user' || n || '@example.org', 'User ' || n, 20 + n % 60 FROM generate_series(1, 200) AS n;
"""

ORDERS = """
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL, total numeric(10, 4) NOT NULL);
INSERT INTO orders SELECT n, n, n * 1.2345 FROM generate_series(1, 200) AS n;
"""

BOTH = USERS + ORDERS

REFERRING = (
    BOTH
    + """
CREATE INDEX ix_orders_user_id ON orders (user_id);
ALTER TABLE orders ADD CONSTRAINT fk_orders_user_id FOREIGN KEY (user_id) REFERENCES users (id);
"""
)

EVENTS = """
CREATE TABLE events (id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO events SELECT n, date '2024-01-01' + n FROM generate_series(1, 200) AS n;
"""
