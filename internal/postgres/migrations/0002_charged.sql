-- +goose Up
-- What requests whose price isn't known were charged to budgets: what they had
-- reserved.
ALTER TABLE usage_days ADD COLUMN charged_micro_usd bigint NOT NULL DEFAULT 0;
