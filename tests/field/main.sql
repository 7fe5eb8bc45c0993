-- The main database as the old script left it, revision by revision: names, types and defaults as read from
-- the catalogues of databases it built. Sections are run by tests/old_script.py:
--   schema <revision>    what that revision did
--   rows from <revision> rows that a database at that revision or later holds
--   rows at <revisions>  rows that only a database at one of these revisions holds

-- schema dca7825748db
CREATE TABLE users (
    id serial PRIMARY KEY,
    email varchar(255) NOT NULL,
    first_name varchar(100) NOT NULL,
    last_name varchar(100) NOT NULL,
    phone varchar(20),
    bio text,
    profile_image_url varchar(500),
    is_active boolean NOT NULL,
    is_verified boolean NOT NULL,
    email_verified boolean NOT NULL,
    phone_verified boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz
);
CREATE UNIQUE INDEX ix_users_email ON users (email);
CREATE INDEX ix_users_id ON users (id);

-- rows from dca7825748db
INSERT INTO users (email, first_name, last_name, phone, bio, is_active, is_verified, email_verified,
                   phone_verified, last_login_at)
VALUES ('leader@example.org', 'Lee', 'Der', '+1 555 0100', '100% "quoted" :bio', true, true, true, true, now()),
       ('member@example.org', 'Mem', 'Ber', NULL, NULL, true, false, true, false, NULL),
       ('MEMBER@example.org', 'Mém', 'Bér', NULL, '', false, false, false, false, NULL);
INSERT INTO users (email, first_name, last_name, is_active, is_verified, email_verified, phone_verified)
SELECT 'user' || n || '@example.org', 'User', n::text, n % 2 = 0, false, true, false
FROM generate_series(1, 500) AS n;

-- schema b37f99db0c0e
CREATE TABLE roles (
    id serial PRIMARY KEY,
    name varchar(50) NOT NULL,
    description varchar(255) NOT NULL,
    is_system boolean NOT NULL,
    is_assignable boolean NOT NULL,
    priority integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_roles_id ON roles (id);
CREATE UNIQUE INDEX ix_roles_name ON roles (name);
CREATE TABLE permissions (
    id serial PRIMARY KEY,
    name varchar(100) NOT NULL,
    description varchar(255) NOT NULL,
    resource varchar(50) NOT NULL,
    action varchar(50) NOT NULL,
    is_system boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_permissions_action ON permissions (action);
CREATE INDEX ix_permissions_id ON permissions (id);
CREATE UNIQUE INDEX ix_permissions_name ON permissions (name);
CREATE INDEX ix_permissions_resource ON permissions (resource);
CREATE TABLE role_permissions (
    role_id integer NOT NULL REFERENCES roles (id),
    permission_id integer NOT NULL REFERENCES permissions (id),
    created_at timestamptz DEFAULT now(),
    PRIMARY KEY (role_id, permission_id)
);
CREATE TABLE user_roles (
    id serial PRIMARY KEY,
    user_id integer NOT NULL REFERENCES users (id),
    role_id integer NOT NULL REFERENCES roles (id),
    is_primary boolean NOT NULL,
    assigned_by integer REFERENCES users (id),
    assigned_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    is_active boolean NOT NULL,
    notes text
);
CREATE INDEX ix_user_roles_id ON user_roles (id);
CREATE INDEX ix_user_roles_role_id ON user_roles (role_id);
CREATE INDEX ix_user_roles_user_id ON user_roles (user_id);
CREATE TABLE role_audit_logs (
    id serial PRIMARY KEY,
    user_id integer NOT NULL REFERENCES users (id),
    role_id integer REFERENCES roles (id),
    role_name varchar(50) NOT NULL,
    action varchar(50) NOT NULL,
    performed_by integer REFERENCES users (id),
    old_value text,
    new_value text,
    reason varchar(255),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_role_audit_logs_action ON role_audit_logs (action);
CREATE INDEX ix_role_audit_logs_created_at ON role_audit_logs (created_at);
CREATE INDEX ix_role_audit_logs_id ON role_audit_logs (id);
CREATE INDEX ix_role_audit_logs_role_id ON role_audit_logs (role_id);
CREATE INDEX ix_role_audit_logs_role_name ON role_audit_logs (role_name);
CREATE INDEX ix_role_audit_logs_user_id ON role_audit_logs (user_id);

-- rows from b37f99db0c0e
INSERT INTO roles (name, description, is_system, is_assignable, priority)
VALUES ('facilitator', 'leads a circle', true, true, 20), ('old role', '', false, false, 0);
INSERT INTO permissions (name, description, resource, action, is_system)
VALUES ('circle.edit', 'may edit a circle', 'circle', 'edit', true);
INSERT INTO role_permissions (role_id, permission_id, created_at) VALUES (1, 1, now()), (2, 1, NULL);
INSERT INTO user_roles (user_id, role_id, is_primary, assigned_by, expires_at, is_active, notes)
VALUES (1, 1, true, NULL, NULL, true, NULL), (1, 1, true, 1, now() - interval '1 day', false, 'twice the same');
INSERT INTO role_audit_logs (user_id, role_id, role_name, action, performed_by, old_value)
VALUES (1, 1, 'facilitator', 'assign', 1, '{"a": 1}'), (1, NULL, 'a role long gone', 'revoke', NULL, NULL);

-- schema a930217cd080
CREATE TABLE circles (
    id serial PRIMARY KEY,
    name varchar(100) NOT NULL,
    description text,
    facilitator_id integer NOT NULL REFERENCES users (id),
    capacity_min integer NOT NULL,
    capacity_max integer NOT NULL,
    location_name varchar(200),
    location_address varchar(500),
    meeting_schedule json,
    status varchar(20) NOT NULL,
    is_active boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_circles_facilitator_id ON circles (facilitator_id);
CREATE INDEX ix_circles_id ON circles (id);
CREATE INDEX ix_circles_name ON circles (name);

-- rows from a930217cd080
-- The second and third break the documented capacity: nothing in the field stops them.
INSERT INTO circles (name, facilitator_id, capacity_min, capacity_max, meeting_schedule, status, is_active)
VALUES ('First', 1, 2, 10, '{"weekday": 1,  "weekday": 2}', 'active', true),
       ('Crowd', 1, 1, 40, NULL, 'forming', true),
       ('Upside down', 2, 9, 3, '[]', 'closed', false);

-- schema 843c768c33cd
CREATE TABLE circle_memberships (
    circle_id integer NOT NULL REFERENCES circles (id),
    user_id integer NOT NULL REFERENCES users (id),
    is_active boolean NOT NULL,
    payment_status varchar(20) NOT NULL,
    stripe_subscription_id varchar(255),
    next_payment_due timestamptz,
    joined_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stripe_subscription_id_length
        CHECK (stripe_subscription_id IS NULL OR length(stripe_subscription_id) <= 255),
    CONSTRAINT valid_payment_status CHECK (payment_status IN ('pending', 'current', 'overdue', 'paused')),
    PRIMARY KEY (circle_id, user_id)
);
CREATE INDEX ix_circle_memberships_stripe_subscription_id ON circle_memberships (stripe_subscription_id);

-- rows from 843c768c33cd
INSERT INTO circle_memberships (circle_id, user_id, is_active, payment_status, stripe_subscription_id)
VALUES (1, 1, true, 'current', repeat('s', 255)), (1, 2, true, 'overdue', NULL), (2, 2, false, 'paused', 'sub_1');
INSERT INTO circle_memberships (circle_id, user_id, is_active, payment_status)
SELECT 2, id, true, 'pending' FROM users WHERE id > 3;

-- schema f4e7d8b9c123
CREATE TABLE meetings (
    id serial PRIMARY KEY,
    circle_id integer NOT NULL REFERENCES circles (id),
    title varchar(200) NOT NULL,
    description text,
    scheduled_date timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    facilitator_id integer NOT NULL REFERENCES users (id),
    location_name varchar(200),
    location_address varchar(500),
    meeting_notes text,
    agenda json,
    status varchar(20) NOT NULL,
    is_active boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_meetings_circle_id ON meetings (circle_id);
CREATE INDEX ix_meetings_facilitator_id ON meetings (facilitator_id);
CREATE INDEX ix_meetings_id ON meetings (id);
CREATE INDEX ix_meetings_scheduled_date ON meetings (scheduled_date);
CREATE TABLE meeting_attendance (
    meeting_id integer NOT NULL REFERENCES meetings (id),
    user_id integer NOT NULL REFERENCES users (id),
    attendance_status varchar(20) NOT NULL,
    check_in_time timestamptz,
    check_out_time timestamptz,
    notes text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (meeting_id, user_id)
);
CREATE INDEX ix_meeting_attendance_meeting_id ON meeting_attendance (meeting_id);
CREATE INDEX ix_meeting_attendance_user_id ON meeting_attendance (user_id);

-- rows from f4e7d8b9c123
-- The second meeting ended before it began.
INSERT INTO meetings (circle_id, title, scheduled_date, started_at, ended_at, facilitator_id, agenda, status,
                      is_active)
VALUES (1, 'Opening', now(), NULL, NULL, 1, '["welcome"]', 'scheduled', true),
       (2, 'Time machine', now(), now(), now() - interval '1 hour', 1, NULL, 'completed', false);
INSERT INTO meeting_attendance (meeting_id, user_id, attendance_status, check_in_time)
VALUES (1, 1, 'present', now()), (2, 2, 'absent', NULL);
