-- The credentials database as the old script left it, revision by revision; see main.sql for the sections.

-- schema 1e978f7e8aa5
CREATE TABLE user_credentials (
    user_id serial PRIMARY KEY,
    password_hash varchar(255) NOT NULL,
    salt varchar(255) NOT NULL,
    totp_secret varchar(255),
    backup_codes varchar(1000),
    google_oauth_token bytea,
    refresh_token_hash varchar(255),
    failed_login_attempts integer NOT NULL,
    locked_until timestamptz,
    password_changed_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_password_attempt timestamptz
);
CREATE INDEX ix_user_credentials_user_id ON user_credentials (user_id);

-- rows at 1e978f7e8aa5
INSERT INTO user_credentials (user_id, password_hash, salt, google_oauth_token, failed_login_attempts)
VALUES (1, 'hash', 'salt', '\x00ff', 0), (2, 'hash', 'salt', NULL, 99), (7000, 'nobody''s', '', NULL, 0);
INSERT INTO user_credentials (user_id, password_hash, salt, failed_login_attempts)
SELECT n, 'hash', 'salt', 0 FROM generate_series(10, 500) AS n;

-- schema d9aa8768cf02
ALTER TABLE user_credentials ADD COLUMN phone_verification_code varchar(10);
ALTER TABLE user_credentials ADD COLUMN phone_verification_expires_at timestamptz;
ALTER TABLE user_credentials ADD COLUMN phone_verification_attempts integer NOT NULL;

-- rows at d9aa8768cf02 a1b2c3d4e5f6 c4b0e5c7784e
INSERT INTO user_credentials (user_id, password_hash, salt, failed_login_attempts, phone_verification_code,
                              phone_verification_attempts)
VALUES (1, 'hash', 'salt', 0, '0123456789', 3), (2, 'hash', 'salt', 99, NULL, 0);
INSERT INTO user_credentials (user_id, password_hash, salt, failed_login_attempts, phone_verification_attempts)
SELECT n, 'hash', 'salt', 0, 0 FROM generate_series(10, 500) AS n;

-- schema a1b2c3d4e5f6
ALTER TABLE user_credentials ADD COLUMN google_user_id varchar(255);
ALTER TABLE user_credentials ADD COLUMN google_access_token bytea;
ALTER TABLE user_credentials ADD COLUMN google_refresh_token bytea;
ALTER TABLE user_credentials ADD CONSTRAINT uq_user_credentials_google_user_id UNIQUE (google_user_id);

-- rows at a1b2c3d4e5f6 c4b0e5c7784e
UPDATE user_credentials SET google_user_id = 'google-' || user_id, google_access_token = '\xdeadbeef'
WHERE user_id < 100;

-- schema c4b0e5c7784e
ALTER TABLE user_credentials ADD COLUMN password_reset_token varchar(255);
ALTER TABLE user_credentials ADD COLUMN password_reset_expires_at timestamptz;
ALTER TABLE user_credentials ADD COLUMN password_reset_attempts integer NOT NULL DEFAULT 0;

-- rows at c4b0e5c7784e
UPDATE user_credentials SET password_reset_token = 'token', password_reset_attempts = 2 WHERE user_id = 2;
