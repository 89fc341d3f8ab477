-- +goose Up
-- The ledger: one row for each admitted request. Times are microseconds since
-- 1970 in UTC; a stage is NULL where the request didn't pass it.
CREATE TABLE usage (
    id                          INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: readers page by it
    request_id                  TEXT    NOT NULL,
    time                        INTEGER NOT NULL,
    endpoint                    TEXT    NOT NULL,
    key_id                      TEXT    NOT NULL,
    project_id                  TEXT    NOT NULL,
    backend                     TEXT    NOT NULL,
    requested_model             TEXT    NOT NULL,
    routed_model                TEXT    NOT NULL,
    answered_model              TEXT    NOT NULL,
    input_tokens                INTEGER NOT NULL,
    output_tokens               INTEGER NOT NULL,
    cache_read_input_tokens     INTEGER NOT NULL,
    cache_creation_input_tokens INTEGER NOT NULL,
    cost_micro_usd              INTEGER, -- NULL: not known
    stop_reason                 TEXT    NOT NULL,
    status                      INTEGER NOT NULL,
    category                    TEXT    NOT NULL, -- '': success
    auth_us                     INTEGER,
    decode_us                   INTEGER,
    admit_us                    INTEGER,
    queue_us                    INTEGER,
    bind_us                     INTEGER,
    first_byte_us               INTEGER,
    generate_us                 INTEGER,
    total_us                    INTEGER
) STRICT;

CREATE INDEX usage_project_time ON usage (project_id, time);
