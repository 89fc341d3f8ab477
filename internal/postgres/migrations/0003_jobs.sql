-- +goose Up
-- What outlives its request. A job's row is the truth about it; River's tables, in a
-- schema of their own, only bring waiting jobs to a worker. All times are the
-- database's own, apart from an event's.
CREATE TABLE jobs (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text COLLATE "C" NOT NULL UNIQUE,
    kind         text COLLATE "C" NOT NULL,
    key_id       text COLLATE "C" NOT NULL,
    project_id   text COLLATE "C" NOT NULL,
    priority     bigint           NOT NULL, -- 1 is first
    state        text COLLATE "C" NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    request      bytea            NOT NULL, -- JSON, as progress and result
    progress     bytea,
    result       bytea,
    category     text COLLATE "C" NOT NULL DEFAULT '',
    message      text COLLATE "C" NOT NULL DEFAULT '',
    attempt      bigint           NOT NULL,
    max_attempts bigint           NOT NULL,
    node         text COLLATE "C" NOT NULL DEFAULT '',
    cancelling   boolean          NOT NULL DEFAULT false,
    events       bigint           NOT NULL DEFAULT 0, -- how many it has
    created_at   timestamptz      NOT NULL,
    due_at       timestamptz      NOT NULL, -- not before it is begun
    started_at   timestamptz,
    ended_at     timestamptz,
    expires_at   timestamptz,               -- only of ended ones
    lease_until  timestamptz                -- only of running ones
);
CREATE INDEX jobs_waiting ON jobs (kind, key_id, priority, seq) INCLUDE (due_at) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (kind, key_id) WHERE state = 'running';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_begun ON jobs (kind, key_id, started_at);
CREATE INDEX jobs_of_key ON jobs (key_id, seq);
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE job_events (
    job  bigint           NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    seq  bigint           NOT NULL, -- from 1, without a gap
    time timestamptz      NOT NULL,
    type text COLLATE "C" NOT NULL,
    data bytea            NOT NULL, -- JSON
    PRIMARY KEY (job, seq)
);

CREATE TABLE job_answers (
    job   bigint NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    n     bigint NOT NULL, -- the question's number
    value bytea  NOT NULL, -- JSON
    PRIMARY KEY (job, n)
);
