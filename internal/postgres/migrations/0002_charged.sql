-- +goose Up
-- What budgets were charged for requests of which too little is known, their price
-- or all that they used: what they had reserved.
ALTER TABLE usage_days ADD COLUMN charged_tokens bigint NOT NULL DEFAULT 0;
ALTER TABLE usage_days ADD COLUMN charged_micro_usd bigint NOT NULL DEFAULT 0;
