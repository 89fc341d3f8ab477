-- +goose Up
-- Times are microseconds since 1970 in UTC.
CREATE TABLE api_keys (
    id                  TEXT    PRIMARY KEY,
    hash                BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the key's text
    prefix              TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    project_id          TEXT    NOT NULL,
    profile             TEXT    NOT NULL,
    requests_per_minute INTEGER NOT NULL CHECK (requests_per_minute >= 0), -- 0: no limit
    created_at          INTEGER NOT NULL,
    expires_at          INTEGER,
    revoked_at          INTEGER
) STRICT;

CREATE INDEX api_keys_prefix ON api_keys (prefix);

-- One row: how often keys were changed. Triggers raise it, so that no writer
-- can forget to.
CREATE TABLE api_keys_version (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    version  INTEGER NOT NULL
) STRICT;

INSERT INTO api_keys_version (only_row, version) VALUES (1, 0);

-- +goose StatementBegin
CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys BEGIN
    UPDATE api_keys_version SET version = version + 1;
END;
-- +goose StatementEnd
