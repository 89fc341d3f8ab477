-- +goose Up
-- What was used by day, project, key and model, kept in the same transactions as
-- the ledger: reports and budgets read it, so the ledger needs no index. day is
-- the first moment of the day in the project's time zone, in microseconds since
-- 1970 in UTC.
CREATE TABLE usage_days (
    project_id                  TEXT    NOT NULL,
    day                         INTEGER NOT NULL,
    key_id                      TEXT    NOT NULL,
    model                       TEXT    NOT NULL, -- as answered; as routed or asked where nothing was answered
    requests                    INTEGER NOT NULL,
    input_tokens                INTEGER NOT NULL,
    output_tokens               INTEGER NOT NULL,
    cache_read_input_tokens     INTEGER NOT NULL,
    cache_creation_input_tokens INTEGER NOT NULL,
    cost_micro_usd              INTEGER NOT NULL, -- of the requests whose price is known
    unpriced                    INTEGER NOT NULL, -- the requests whose price isn't
    PRIMARY KEY (project_id, day, key_id, model)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_days_key ON usage_days (key_id, day);

-- Former versions counted days by UTC.
INSERT INTO usage_days
SELECT project_id, time / 86400000000 * 86400000000 AS day, key_id,
    coalesce(nullif(answered_model, ''), nullif(routed_model, ''), requested_model) AS model,
    count(*), sum(input_tokens), sum(output_tokens), sum(cache_read_input_tokens), sum(cache_creation_input_tokens),
    coalesce(sum(cost_micro_usd), 0), count(*) - count(cost_micro_usd)
FROM usage
WHERE input_tokens + output_tokens + cache_read_input_tokens + cache_creation_input_tokens > 0 OR cost_micro_usd IS NOT NULL
GROUP BY project_id, day, key_id, model;

DROP TABLE spent;
DROP INDEX usage_project_time;

-- The same table without AUTOINCREMENT, which writes a second table with every
-- row. Rows are never removed, so no id is given twice.
CREATE TABLE usage_without (
    id                          INTEGER PRIMARY KEY,
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

INSERT INTO usage_without SELECT * FROM usage;
DROP TABLE usage;
ALTER TABLE usage_without RENAME TO usage;
