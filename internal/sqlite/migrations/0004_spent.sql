-- +goose Up
-- What each key and project has spent in a period, kept in the same transactions
-- as the ledger. start is in microseconds since 1970 in UTC: the first moment of
-- the period in the project's time zone.
CREATE TABLE spent (
    owner_kind TEXT    NOT NULL, -- key, project
    owner_id   TEXT    NOT NULL,
    period     TEXT    NOT NULL, -- day, week, month, total
    start      INTEGER NOT NULL,
    tokens     INTEGER NOT NULL, -- input and output
    micro_usd  INTEGER NOT NULL,
    PRIMARY KEY (owner_kind, owner_id, period, start)
) STRICT, WITHOUT ROWID;

-- The requests of former versions counted by UTC.
INSERT INTO spent (owner_kind, owner_id, period, start, tokens, micro_usd)
SELECT 'key', key_id, 'total', 0, sum(input_tokens + output_tokens), coalesce(sum(cost_micro_usd), 0) FROM usage GROUP BY key_id
UNION ALL
SELECT 'project', project_id, 'total', 0, sum(input_tokens + output_tokens), coalesce(sum(cost_micro_usd), 0) FROM usage GROUP BY project_id
UNION ALL
SELECT 'key', key_id, period, start, sum(tokens), sum(cost) FROM (
    SELECT key_id, 'day' AS period, strftime('%s', time / 1000000, 'unixepoch', 'start of day') * 1000000 AS start, input_tokens + output_tokens AS tokens, coalesce(cost_micro_usd, 0) AS cost FROM usage
    UNION ALL
    SELECT key_id, 'week', strftime('%s', time / 1000000, 'unixepoch', '-6 days', 'weekday 1', 'start of day') * 1000000, input_tokens + output_tokens, coalesce(cost_micro_usd, 0) FROM usage
    UNION ALL
    SELECT key_id, 'month', strftime('%s', time / 1000000, 'unixepoch', 'start of month') * 1000000, input_tokens + output_tokens, coalesce(cost_micro_usd, 0) FROM usage
) GROUP BY key_id, period, start
UNION ALL
SELECT 'project', project_id, period, start, sum(tokens), sum(cost) FROM (
    SELECT project_id, 'day' AS period, strftime('%s', time / 1000000, 'unixepoch', 'start of day') * 1000000 AS start, input_tokens + output_tokens AS tokens, coalesce(cost_micro_usd, 0) AS cost FROM usage
    UNION ALL
    SELECT project_id, 'week', strftime('%s', time / 1000000, 'unixepoch', '-6 days', 'weekday 1', 'start of day') * 1000000, input_tokens + output_tokens, coalesce(cost_micro_usd, 0) FROM usage
    UNION ALL
    SELECT project_id, 'month', strftime('%s', time / 1000000, 'unixepoch', 'start of month') * 1000000, input_tokens + output_tokens, coalesce(cost_micro_usd, 0) FROM usage
) GROUP BY project_id, period, start;
