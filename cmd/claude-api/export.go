package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/usage"
)

// page is how many records an export reads at once.
const page = 1000

// export is the flag of commands that print all of a log, record by record.
type export struct {
	Output string `short:"o" help:"json (one object a line) or csv." enum:"json,csv" default:"json"`
}

func (e export) form() string {
	if e.Output == formJSON {
		return formLines
	}
	return e.Output
}

// pages prints everything that next gives, page by page, until there is no more.
// next gives the records behind the one whose id is after.
func pages[T any](form string, columns []column[T], id func(T) int64, next func(after int64) ([]T, error)) error {
	p := newPrinter(os.Stdout, form, columns)
	for after := int64(0); ; {
		list, err := next(after)
		if err != nil {
			return err
		}
		for _, record := range list {
			if err := p.add(record); err != nil {
				return err
			}
			after = id(record)
		}
		if len(list) < page {
			return p.close()
		}
	}
}

type usageExportCommand struct {
	config.Data `embed:""`
	export      `embed:""`
	Since       string `help:"The first day, such as 2026-03-01, in UTC, or the first moment, such as 2026-03-01T12:00:00+02:00." placeholder:"TIME"`
	Until       string `help:"The last day, or the moment at which to end." placeholder:"TIME"`
	ProjectID   string `help:"Only this project."`
	Key         string `help:"Only this key: the key, its id or its visible beginning."`
}

func (c *usageExportCommand) Run() error {
	filter := usage.Filter{ProjectID: c.ProjectID}
	var err error
	if filter.Since, err = moment("since", c.Since, 0); err != nil {
		return err
	}
	if filter.Until, err = moment("until", c.Until, 1); err != nil {
		return err
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		if err := knownProject(ctx, newKeys(s), c.ProjectID); err != nil {
			return err
		}
		if c.Key != "" {
			account, err := newKeys(s).Find(ctx, c.Key)
			if err != nil {
				return err
			}
			filter.KeyID = account.Key.ID
		}
		return pages(c.form(), rowColumns(), func(r usage.Row) int64 { return r.ID }, func(after int64) ([]usage.Row, error) {
			return s.ListUsage(ctx, after, page, filter)
		})
	})
}

// moment reads a time, or a date: the beginning of the day so many days later. The
// zero time is that of no text.
func moment(flag, text string, days int) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t.AddDate(0, 0, days), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("--%s: %q is neither a date such as 2026-03-01 nor a time such as 2026-03-01T12:00:00Z", flag, text)
	}
	return t, nil
}

// rowColumns are all columns of the ledger.
func rowColumns() []column[usage.Row] {
	columns := []column[usage.Row]{
		{name: "id", value: func(r usage.Row) any { return r.ID }},
		{name: "request_id", value: func(r usage.Row) any { return r.RequestID }},
		{name: "time", value: func(r usage.Row) any { return r.Time }},
		{name: "endpoint", value: func(r usage.Row) any { return r.Endpoint }},
		{name: "key_id", value: func(r usage.Row) any { return r.KeyID }},
		{name: "project_id", value: func(r usage.Row) any { return r.ProjectID }},
		{name: "backend", value: func(r usage.Row) any { return r.Backend }},
		{name: "requested_model", value: func(r usage.Row) any { return r.Requested }},
		{name: "routed_model", value: func(r usage.Row) any { return r.Routed }},
		{name: "answered_model", value: func(r usage.Row) any { return r.Answered }},
		{name: "input_tokens", value: func(r usage.Row) any { return r.Usage.InputTokens }},
		{name: "output_tokens", value: func(r usage.Row) any { return r.Usage.OutputTokens }},
		{name: "cache_read_input_tokens", value: func(r usage.Row) any { return r.Usage.CacheReadInputTokens }},
		{name: "cache_creation_input_tokens", value: func(r usage.Row) any { return r.Usage.CacheCreationInputTokens }},
		{name: "cost_usd", value: func(r usage.Row) any {
			if r.CostMicroUSD == nil {
				return nil
			}
			return usd(*r.CostMicroUSD)
		}},
		{name: "stop_reason", value: func(r usage.Row) any { return r.StopReason }},
		{name: "status", value: func(r usage.Row) any { return r.Status }},
		{name: "category", value: func(r usage.Row) any { return r.Category }},
	}
	for s := range latency.Stage(latency.Count) {
		if s == latency.Record {
			continue // the row is what is being recorded
		}
		columns = append(columns, column[usage.Row]{name: s.String() + "_us", value: func(r usage.Row) any {
			if r.Micros[s] == usage.NotMeasured {
				return nil
			}
			return r.Micros[s]
		}})
	}
	return columns
}
