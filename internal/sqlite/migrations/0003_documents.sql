-- +goose Up
-- What a caller may ask for again, for a while. Times are microseconds since
-- 1970 in UTC.
CREATE TABLE documents (
    kind       TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    body       BLOB    NOT NULL, -- last: the columns before it are read without it
    PRIMARY KEY (kind, key_id, id)
) STRICT;

CREATE INDEX documents_expires ON documents (expires_at);
