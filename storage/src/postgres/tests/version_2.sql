CREATE SCHEMA panda;
CREATE TABLE panda.migrations (version BIGINT NOT NULL PRIMARY KEY, applied_us BIGINT NOT NULL);
CREATE TABLE panda.users (
    id BYTEA NOT NULL CONSTRAINT users_id_unique PRIMARY KEY CHECK (octet_length(id) = 16),
    username TEXT NOT NULL,
    username_key TEXT COLLATE "C" NOT NULL CONSTRAINT users_username_key_unique UNIQUE,
    email TEXT,
    picture TEXT,
    version BIGINT NOT NULL CHECK (version > 0),
    created_us BIGINT NOT NULL
);
CREATE TABLE panda.credentials (
    user_id BYTEA NOT NULL PRIMARY KEY REFERENCES panda.users (id),
    password_hash TEXT NOT NULL
);
CREATE TABLE panda.api_keys (
    digest BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    label TEXT NOT NULL,
    scopes BIGINT NOT NULL,
    created_us BIGINT NOT NULL
);
CREATE TABLE panda.signing_keys (
    kid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL,
    created_us BIGINT NOT NULL
);
CREATE TABLE panda.logins (
    user_id BYTEA NOT NULL REFERENCES panda.users (id),
    id BYTEA NOT NULL CHECK (octet_length(id) = 8),
    label TEXT,
    created_us BIGINT NOT NULL,
    used_us BIGINT NOT NULL,
    access_ends_us BIGINT NOT NULL,
    refresh_digest BYTEA NOT NULL CHECK (octet_length(refresh_digest) = 32),
    replaced_digest BYTEA CHECK (octet_length(replaced_digest) = 32),
    next_sealed BYTEA,
    replaced_us BIGINT,
    PRIMARY KEY (user_id, id)
);
CREATE TABLE panda.ended_logins (
    place BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id BYTEA NOT NULL CHECK (octet_length(user_id) = 16),
    login_id BYTEA NOT NULL CHECK (octet_length(login_id) = 8),
    access_ends_us BIGINT NOT NULL
);
CREATE INDEX ended_logins_over ON panda.ended_logins (access_ends_us);
INSERT INTO panda.migrations VALUES (1, 1700000000000000), (2, 1700000000000004);
INSERT INTO panda.users VALUES
    ('\x11010101010101010101010101010101', 'Ada', 'ada', 'ada@example.org', NULL, 3, 1700000000000000),
    ('\x11020202020202020202020202020202', 'bob', 'bob', NULL, 'https://example.org/bob.png', 1, 1700000000000001);
INSERT INTO panda.credentials VALUES ('\x11010101010101010101010101010101', '$argon2id$v=19$sample');
INSERT INTO panda.api_keys VALUES (decode(repeat('ab', 32), 'hex'), 'sample', 1, 1700000000000002);
INSERT INTO panda.signing_keys VALUES ('sample', '\x010203', 1700000000000003);
INSERT INTO panda.logins VALUES
    ('\x11010101010101010101010101010101', '\x0000000000000001', 'laptop', 1700000000000005, 1700000000000006,
     1700003600000006, decode(repeat('02', 32), 'hex'), decode(repeat('01', 32), 'hex'), '\x0a0b', 1700000000000006),
    ('\x11010101010101010101010101010101', '\x0000000000000002', NULL, 1700000000000005, 1700000000000005,
     1700003600000005, decode(repeat('03', 32), 'hex'), NULL, NULL, NULL);
INSERT INTO panda.ended_logins (user_id, login_id, access_ends_us) VALUES
    ('\x11010101010101010101010101010101', '\x0000000000000009', 1700003600000000);
