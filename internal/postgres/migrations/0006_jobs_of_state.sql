-- +goose Up
-- The newest jobs of a state, of all keys: what those who administer the service look for.
CREATE INDEX jobs_of_state ON jobs (state, seq);
