-- +goose Up
-- The nodes of the service that live: one row for each, which it renews in time. A
-- node whose row is gone is dead, for itself too. What belongs to a node and ends
-- with it may refer to its row.
CREATE TABLE nodes (
    id         text COLLATE "C" PRIMARY KEY,
    joined_at  timestamptz NOT NULL, -- these times are the database's own
    expires_at timestamptz NOT NULL
);
CREATE INDEX nodes_expires ON nodes (expires_at);

-- What a node has taken for itself, so that no other does the same: it is given back,
-- or ends with the node.
CREATE TABLE claims (
    kind    text COLLATE "C" NOT NULL,
    key_id  text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    node_id text COLLATE "C" NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    note    text COLLATE "C" NOT NULL, -- for the others
    PRIMARY KEY (kind, key_id, id)
);
CREATE INDEX claims_node ON claims (node_id);

-- Whoever knows accounts hears of their changes at once.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION raise_keys_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE keys_version SET version = version + 1;
    PERFORM pg_notify('claude_api_keys', '');
    RETURN NULL;
END
$$;
-- +goose StatementEnd
