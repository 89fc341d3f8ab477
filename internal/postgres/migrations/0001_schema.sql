-- +goose Up
-- All texts are compared by their bytes, as the other store does, whatever the
-- database's own collation is.
CREATE TABLE api_keys (
    id                  text COLLATE "C" PRIMARY KEY,
    hash                bytea            NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256 of the key's text
    former_hash         bytea            UNIQUE CHECK (length(former_hash) = 32),   -- of its text before the last rotation
    former_until        timestamptz,
    prefix              text COLLATE "C" NOT NULL,
    name                text COLLATE "C" NOT NULL,
    project_id          text COLLATE "C" NOT NULL,
    profile             text COLLATE "C" NOT NULL,
    admin               boolean          NOT NULL,
    requests_per_minute bigint           NOT NULL CHECK (requests_per_minute >= 0), -- 0: no limit
    tokens_per_minute   bigint           NOT NULL CHECK (tokens_per_minute >= 0),
    concurrent_requests bigint           NOT NULL CHECK (concurrent_requests >= 0),
    created_at          timestamptz      NOT NULL,
    expires_at          timestamptz,
    revoked_at          timestamptz
);
CREATE INDEX api_keys_prefix ON api_keys (prefix);
CREATE INDEX api_keys_project ON api_keys (project_id);

CREATE TABLE projects (
    id                  text COLLATE "C" PRIMARY KEY,
    time_zone           text COLLATE "C" NOT NULL, -- an IANA name; '': UTC
    requests_per_minute bigint           NOT NULL CHECK (requests_per_minute >= 0),
    tokens_per_minute   bigint           NOT NULL CHECK (tokens_per_minute >= 0),
    concurrent_requests bigint           NOT NULL CHECK (concurrent_requests >= 0)
);

CREATE TABLE profiles (
    name        text COLLATE "C" PRIMARY KEY,
    permissions text             NOT NULL -- JSON
);

CREATE TABLE budgets (
    owner_kind text COLLATE "C" NOT NULL, -- key, project
    owner_id   text COLLATE "C" NOT NULL,
    period     text COLLATE "C" NOT NULL, -- day, week, month, total
    unit       text COLLATE "C" NOT NULL, -- tokens, usd
    hard       bigint           NOT NULL CHECK (hard >= 0), -- in tokens or millionths of a US dollar; 0: none
    soft       bigint           NOT NULL CHECK (soft >= 0),
    PRIMARY KEY (owner_kind, owner_id, period, unit)
);

-- One row: how often accounts were changed. Triggers raise it, so that no writer
-- can forget to; transactions that change accounts wait for each other at it, so
-- that it rises in the order of their commits.
CREATE TABLE keys_version (
    only_row boolean PRIMARY KEY CHECK (only_row),
    version  bigint  NOT NULL
);
INSERT INTO keys_version (only_row, version) VALUES (true, 0);

-- +goose StatementBegin
CREATE FUNCTION raise_keys_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE keys_version SET version = version + 1;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION raise_keys_version();
CREATE TRIGGER projects_changed AFTER INSERT OR UPDATE OR DELETE ON projects FOR EACH ROW EXECUTE FUNCTION raise_keys_version();
CREATE TRIGGER profiles_changed AFTER INSERT OR UPDATE OR DELETE ON profiles FOR EACH ROW EXECUTE FUNCTION raise_keys_version();
CREATE TRIGGER budgets_changed AFTER INSERT OR UPDATE OR DELETE ON budgets FOR EACH ROW EXECUTE FUNCTION raise_keys_version();
CREATE TRIGGER api_keys_emptied AFTER TRUNCATE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION raise_keys_version();
CREATE TRIGGER projects_emptied AFTER TRUNCATE ON projects FOR EACH STATEMENT EXECUTE FUNCTION raise_keys_version();
CREATE TRIGGER profiles_emptied AFTER TRUNCATE ON profiles FOR EACH STATEMENT EXECUTE FUNCTION raise_keys_version();
CREATE TRIGGER budgets_emptied AFTER TRUNCATE ON budgets FOR EACH STATEMENT EXECUTE FUNCTION raise_keys_version();

-- The ledger: one row for each admitted request. A stage is NULL where the
-- request didn't pass it.
CREATE TABLE usage (
    id                          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id                  text COLLATE "C" NOT NULL,
    time                        timestamptz      NOT NULL,
    endpoint                    text COLLATE "C" NOT NULL,
    key_id                      text COLLATE "C" NOT NULL,
    project_id                  text COLLATE "C" NOT NULL,
    backend                     text COLLATE "C" NOT NULL,
    requested_model             text COLLATE "C" NOT NULL,
    routed_model                text COLLATE "C" NOT NULL,
    answered_model              text COLLATE "C" NOT NULL,
    input_tokens                bigint           NOT NULL,
    output_tokens               bigint           NOT NULL,
    cache_read_input_tokens     bigint           NOT NULL,
    cache_creation_input_tokens bigint           NOT NULL,
    cost_micro_usd              bigint, -- NULL: not known
    stop_reason                 text COLLATE "C" NOT NULL,
    status                      bigint           NOT NULL,
    category                    text COLLATE "C" NOT NULL, -- '': success
    auth_us                     bigint,
    decode_us                   bigint,
    admit_us                    bigint,
    queue_us                    bigint,
    bind_us                     bigint,
    first_byte_us               bigint,
    generate_us                 bigint,
    total_us                    bigint
);

-- What was used by day, project, key and model, kept in the same transactions as
-- the ledger: reports and budgets read it. day is the first moment of the day in
-- the project's time zone.
CREATE TABLE usage_days (
    project_id                  text COLLATE "C" NOT NULL,
    day                         timestamptz      NOT NULL,
    key_id                      text COLLATE "C" NOT NULL,
    model                       text COLLATE "C" NOT NULL, -- as answered; as routed or asked where nothing was answered
    requests                    bigint           NOT NULL,
    input_tokens                bigint           NOT NULL,
    output_tokens               bigint           NOT NULL,
    cache_read_input_tokens     bigint           NOT NULL,
    cache_creation_input_tokens bigint           NOT NULL,
    cost_micro_usd              bigint           NOT NULL, -- of the requests whose price is known
    unpriced                    bigint           NOT NULL, -- the requests whose price isn't
    PRIMARY KEY (project_id, day, key_id, model)
) WITH (fillfactor = 50); -- rows change with each commit, and stay in their page
CREATE INDEX usage_days_key ON usage_days (key_id, day);

-- What a caller may ask for again, for a while.
CREATE TABLE documents (
    kind       text COLLATE "C" NOT NULL,
    key_id     text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    created_at timestamptz      NOT NULL,
    expires_at timestamptz      NOT NULL,
    body       bytea            NOT NULL,
    PRIMARY KEY (kind, key_id, id)
);
CREATE INDEX documents_expires ON documents (expires_at);

-- Who did what, and what was refused.
CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time       timestamptz      NOT NULL,
    actor      text COLLATE "C" NOT NULL, -- a key's id, cli, or ''
    address    text COLLATE "C" NOT NULL,
    action     text COLLATE "C" NOT NULL,
    target     text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    detail     text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL
);
CREATE INDEX audit_time ON audit (time);

-- Nobody changes what has been written, replication included.
-- +goose StatementBegin
CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit();
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_no_change;
