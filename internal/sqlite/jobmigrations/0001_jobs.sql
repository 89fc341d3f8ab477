-- +goose Up
-- What outlives its request. A job's row is the truth about it; River's tables, which
-- River makes itself, only bring waiting jobs to a worker. All times are microseconds
-- since 1970.
CREATE TABLE jobs (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    key_id       TEXT    NOT NULL,
    project_id   TEXT    NOT NULL,
    priority     INTEGER NOT NULL, -- 1 is first
    state        TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    request      BLOB    NOT NULL, -- JSON, as progress and result
    progress     BLOB,
    result       BLOB,
    category     TEXT    NOT NULL DEFAULT '',
    message      TEXT    NOT NULL DEFAULT '',
    attempt      INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    node         TEXT    NOT NULL DEFAULT '',
    from_queue   INTEGER NOT NULL, -- 0: it runs in a request
    cancelling   INTEGER NOT NULL DEFAULT 0,
    events       INTEGER NOT NULL DEFAULT 0, -- how many it has
    created_at   INTEGER NOT NULL,
    due_at       INTEGER NOT NULL, -- not before it is begun
    started_at   INTEGER,
    ended_at     INTEGER,
    expires_at   INTEGER,          -- only of ended ones
    lease_until  INTEGER           -- only of running ones
) STRICT;
CREATE INDEX jobs_waiting ON jobs (kind, key_id, priority, seq, due_at) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (kind, key_id) WHERE state = 'running';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_begun ON jobs (kind, key_id, started_at);
CREATE INDEX jobs_of_key ON jobs (key_id, seq);
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE job_events (
    job  INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    seq  INTEGER NOT NULL, -- from 1, without a gap
    time INTEGER NOT NULL,
    type TEXT    NOT NULL,
    data BLOB    NOT NULL, -- JSON
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_answers (
    job   INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    n     INTEGER NOT NULL, -- the question's number
    value BLOB    NOT NULL, -- JSON
    PRIMARY KEY (job, n)
) STRICT, WITHOUT ROWID;
