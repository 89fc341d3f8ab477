-- +goose Up
-- What nodes share of limits and budgets (docs/adr/0032). A lease is what a node may use
-- without asking; it ends with the node's row.
CREATE TABLE share_leases (
    node          text COLLATE "C" NOT NULL REFERENCES nodes ON DELETE CASCADE,
    owner_kind    text COLLATE "C" NOT NULL, -- key, project
    owner_id      text COLLATE "C" NOT NULL,
    resource      text COLLATE "C" NOT NULL, -- requests, tokens, concurrent, or a budget: day-tokens, month-usd, ...
    since         timestamptz      NOT NULL, -- the first moment of a budget's period, else -infinity
    until         timestamptz      NOT NULL,
    unit          text COLLATE "C" NOT NULL, -- of a budget: tokens, usd; else ''
    turn          bigint           NOT NULL, -- of the exchange that wrote it; they rise
    -- All that the node was ever lent, has given back, and has used up of a budget. A
    -- lease is granted - given - used. Of a rate, ready are how many could be used at
    -- once at that moment.
    granted       bigint           NOT NULL,
    granted_ready bigint           NOT NULL,
    given         bigint           NOT NULL,
    given_ready   bigint           NOT NULL,
    used          bigint           NOT NULL, -- raised by the ledger's own transactions
    PRIMARY KEY (node, owner_kind, owner_id, resource, since)
) WITH (fillfactor = 50); -- rows change with each commit, and stay in their page
CREATE INDEX share_leases_resource ON share_leases (owner_kind, owner_id, resource, since);

-- The part of a rate that nobody is lent, as it was at a moment of the database's
-- clock.
CREATE TABLE share_pools (
    owner_kind text COLLATE "C" NOT NULL,
    owner_id   text COLLATE "C" NOT NULL,
    resource   text COLLATE "C" NOT NULL, -- requests, tokens
    capacity   bigint           NOT NULL, -- a minute
    level      numeric          NOT NULL, -- ready to be used, in 60-millionths of one; below 0: owed
    at         timestamptz      NOT NULL,
    PRIMARY KEY (owner_kind, owner_id, resource)
) WITH (fillfactor = 50);
