-- +goose Up
-- What keys are held to, and by which former text they are known for a while.
ALTER TABLE api_keys ADD COLUMN admin               INTEGER NOT NULL DEFAULT 0 CHECK (admin IN (0, 1));
ALTER TABLE api_keys ADD COLUMN tokens_per_minute   INTEGER NOT NULL DEFAULT 0 CHECK (tokens_per_minute >= 0);   -- 0: no limit
ALTER TABLE api_keys ADD COLUMN concurrent_requests INTEGER NOT NULL DEFAULT 0 CHECK (concurrent_requests >= 0); -- 0: no limit
ALTER TABLE api_keys ADD COLUMN former_hash         BLOB    CHECK (length(former_hash) = 32); -- SHA-256 of the text before the last rotation
ALTER TABLE api_keys ADD COLUMN former_until        INTEGER;

CREATE UNIQUE INDEX api_keys_former_hash ON api_keys (former_hash) WHERE former_hash IS NOT NULL;
CREATE INDEX api_keys_project ON api_keys (project_id);

-- The settings of projects. A project without a row has none.
CREATE TABLE projects (
    id                  TEXT    PRIMARY KEY,
    time_zone           TEXT    NOT NULL, -- IANA name, '' is UTC
    requests_per_minute INTEGER NOT NULL CHECK (requests_per_minute >= 0), -- 0: no limit
    tokens_per_minute   INTEGER NOT NULL CHECK (tokens_per_minute >= 0),
    concurrent_requests INTEGER NOT NULL CHECK (concurrent_requests >= 0)
) STRICT;

-- Custom profiles; free, pro and enterprise are built into the program.
CREATE TABLE profiles (
    name        TEXT PRIMARY KEY,
    permissions TEXT NOT NULL -- JSON, as the wire contract writes a custom profile
) STRICT;

CREATE TABLE budgets (
    owner_kind TEXT    NOT NULL, -- key, project
    owner_id   TEXT    NOT NULL,
    period     TEXT    NOT NULL, -- day, week, month, total
    unit       TEXT    NOT NULL, -- tokens, usd (counted in millionths of a US dollar)
    hard       INTEGER NOT NULL CHECK (hard >= 0), -- 0: none
    soft       INTEGER NOT NULL CHECK (soft >= 0), -- 0: none
    PRIMARY KEY (owner_kind, owner_id, period, unit)
) STRICT, WITHOUT ROWID;

-- Whatever a key's caller is told of counts as a change of keys.
-- +goose StatementBegin
CREATE TRIGGER projects_inserted AFTER INSERT ON projects BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_updated AFTER UPDATE ON projects BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER projects_deleted AFTER DELETE ON projects BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER profiles_inserted AFTER INSERT ON profiles BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER profiles_updated AFTER UPDATE ON profiles BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER profiles_deleted AFTER DELETE ON profiles BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER budgets_inserted AFTER INSERT ON budgets BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER budgets_updated AFTER UPDATE ON budgets BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER budgets_deleted AFTER DELETE ON budgets BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
