package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/usage"
)

const usageColumns = `request_id, time, endpoint, key_id, project_id, backend, requested_model, routed_model, answered_model,
	input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens, cost_micro_usd, stop_reason, status, category,
	auth_us, decode_us, admit_us, queue_us, bind_us, first_byte_us, generate_us, total_us`

// usageStages are the stages in the order of their columns.
var usageStages = [...]latency.Stage{
	latency.Auth, latency.Decode, latency.Admit, latency.Queue, latency.Bind, latency.FirstByte, latency.Generate, latency.Total,
}

// sumColumns are those of a usage.Sum.
const sumColumns = `day, project_id, key_id, model, requests, input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens,
	cost_micro_usd, unpriced, charged_tokens, charged_micro_usd`

type usageStatements struct {
	insert, add, list, sumProject, sumAll, spentKey, spentProject, lastDays *sql.Stmt
}

func (s *usageStatements) prepare(ctx context.Context, db *DB) error {
	err := prepareAll(ctx, db.write, map[string]**sql.Stmt{
		`INSERT INTO usage (` + usageColumns + `)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`: &s.insert,
		`INSERT INTO usage_days (` + sumColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, input_tokens = input_tokens + excluded.input_tokens,
			output_tokens = output_tokens + excluded.output_tokens, cache_read_input_tokens = cache_read_input_tokens + excluded.cache_read_input_tokens,
			cache_creation_input_tokens = cache_creation_input_tokens + excluded.cache_creation_input_tokens,
			cost_micro_usd = cost_micro_usd + excluded.cost_micro_usd, unpriced = unpriced + excluded.unpriced,
			charged_tokens = charged_tokens + excluded.charged_tokens, charged_micro_usd = charged_micro_usd + excluded.charged_micro_usd`: &s.add,
	})
	if err != nil {
		return err
	}
	const spent = `SELECT coalesce(sum(input_tokens + output_tokens + charged_tokens), 0), coalesce(sum(cost_micro_usd + charged_micro_usd), 0) FROM usage_days WHERE `
	const sum = `SELECT ` + sumColumns + ` FROM usage_days WHERE day >= ?1 AND day < ?2 AND (?4 = '' OR key_id = ?4) AND `
	const order = ` ORDER BY day, project_id, key_id, model`
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		`SELECT id, ` + usageColumns + ` FROM usage WHERE id > ?5 AND time >= ?1 AND time < ?2
			AND (?3 = '' OR project_id = ?3) AND (?4 = '' OR key_id = ?4) ORDER BY id LIMIT ?6`: &s.list,
		`SELECT key_id, max(day) FROM usage_days GROUP BY key_id`: &s.lastDays,
		spent + `key_id = ? AND day >= ? AND day < ?`:             &s.spentKey,
		spent + `project_id = ? AND day >= ? AND day < ?`:         &s.spentProject,
		// Two queries, because an index serves only the first.
		sum + `project_id = ?3` + order: &s.sumProject,
		sum + `?3 = ''` + order:         &s.sumAll,
	})
}

func usageArgs(f usage.Filter) []any {
	since, until := int64(math.MinInt64), int64(math.MaxInt64)
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	if !f.Until.IsZero() {
		until = f.Until.UnixMicro()
	}
	return []any{since, until, f.ProjectID, f.KeyID}
}

// AppendUsage implements usage.Store.
func (db *DB) AppendUsage(ctx context.Context, rows []usage.Row, sums []usage.Sum) error {
	if len(rows)+len(sums) == 0 {
		return nil
	}
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }()           // does nothing after the commit
	insert := tx.StmtContext(ctx, db.usage.insert) //nolint:sqlclosecheck // the transaction closes it
	args := make([]any, 0, 17+len(usageStages))
	for i := range rows {
		args = appendUsageArgs(args[:0], &rows[i])
		if _, err := insert.ExecContext(ctx, args...); err != nil {
			return fmt.Errorf("insert usage: %w", err)
		}
	}
	add := tx.StmtContext(ctx, db.usage.add) //nolint:sqlclosecheck // the transaction closes it
	for i := range sums {
		s := &sums[i]
		_, err := add.ExecContext(ctx, s.Day.UnixMicro(), s.ProjectID, s.KeyID, s.Model, s.Requests, s.Usage.InputTokens, s.Usage.OutputTokens,
			s.Usage.CacheReadInputTokens, s.Usage.CacheCreationInputTokens, s.CostMicroUSD, s.Unpriced, s.Charged.Tokens, s.Charged.MicroUSD)
		if err != nil {
			return fmt.Errorf("add to the day's sums: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Spent implements usage.Store.
func (db *DB) Spent(ctx context.Context, owner budget.Owner, period budget.Period, start time.Time) (budget.Amount, error) {
	statement := db.usage.spentKey
	if owner.Kind == budget.Project {
		statement = db.usage.spentProject
	}
	until := int64(math.MaxInt64)
	if end, ends := period.End(start); ends {
		until = end.UnixMicro()
	}
	var a budget.Amount
	if err := statement.QueryRowContext(ctx, owner.ID, start.UnixMicro(), until).Scan(&a.Tokens, &a.MicroUSD); err != nil {
		return budget.Amount{}, fmt.Errorf("select what was spent: %w", err)
	}
	return a, nil
}

func appendUsageArgs(args []any, r *usage.Row) []any {
	var cost any
	if r.CostMicroUSD != nil {
		cost = *r.CostMicroUSD
	}
	args = append(args, r.RequestID, r.Time.UnixMicro(), r.Endpoint, r.KeyID, r.ProjectID, r.Backend, r.Requested, r.Routed, r.Answered,
		r.Usage.InputTokens, r.Usage.OutputTokens, r.Usage.CacheReadInputTokens, r.Usage.CacheCreationInputTokens,
		cost, r.StopReason, r.Status, r.Category)
	for _, s := range usageStages {
		var took any
		if us := r.Micros[s]; us != usage.NotMeasured {
			took = us
		}
		args = append(args, took)
	}
	return args
}

// SumUsage implements usage.Store.
func (db *DB) SumUsage(ctx context.Context, filter usage.Filter) ([]usage.Sum, error) {
	statement := db.usage.sumAll
	if filter.ProjectID != "" {
		statement = db.usage.sumProject
	}
	rows, err := statement.QueryContext(ctx, usageArgs(filter)...)
	if err != nil {
		return nil, fmt.Errorf("sum usage: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var sums []usage.Sum
	for rows.Next() {
		var s usage.Sum
		var day int64
		err := rows.Scan(&day, &s.ProjectID, &s.KeyID, &s.Model, &s.Requests, &s.Usage.InputTokens, &s.Usage.OutputTokens, &s.Usage.CacheReadInputTokens,
			&s.Usage.CacheCreationInputTokens, &s.CostMicroUSD, &s.Unpriced, &s.Charged.Tokens, &s.Charged.MicroUSD)
		if err != nil {
			return nil, fmt.Errorf("scan usage sum: %w", err)
		}
		s.Day = fromMicros(day)
		sums = append(sums, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sum usage: %w", err)
	}
	return sums, nil
}

// ListUsage implements usage.Store.
func (db *DB) ListUsage(ctx context.Context, after int64, limit int, filter usage.Filter) ([]usage.Row, error) {
	rows, err := db.usage.list.QueryContext(ctx, append(usageArgs(filter), after, limit)...)
	if err != nil {
		return nil, fmt.Errorf("select usage: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var list []usage.Row
	for rows.Next() {
		row, err := scanUsage(rows)
		if err != nil {
			return nil, fmt.Errorf("scan usage: %w", err)
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select usage: %w", err)
	}
	return list, nil
}

func scanUsage(rows *sql.Rows) (usage.Row, error) {
	var r usage.Row
	var at int64
	var cost sql.Null[int64]
	var took [len(usageStages)]sql.Null[int64]
	fields := []any{
		&r.ID, &r.RequestID, &at, &r.Endpoint, &r.KeyID, &r.ProjectID, &r.Backend, &r.Requested, &r.Routed, &r.Answered,
		&r.Usage.InputTokens, &r.Usage.OutputTokens, &r.Usage.CacheReadInputTokens, &r.Usage.CacheCreationInputTokens,
		&cost, &r.StopReason, &r.Status, &r.Category,
	}
	for i := range took {
		fields = append(fields, &took[i])
	}
	if err := rows.Scan(fields...); err != nil {
		return usage.Row{}, err
	}
	r.Time = fromMicros(at)
	if cost.Valid {
		r.CostMicroUSD = &cost.V
	}
	for s := range r.Micros {
		r.Micros[s] = usage.NotMeasured
	}
	for i, s := range usageStages {
		if took[i].Valid {
			r.Micros[s] = took[i].V
		}
	}
	return r, nil
}

// countNames are what a usage.Count is told apart by.
var countNames = map[usage.Dimension]string{
	usage.ByProject: `''`, usage.ByKey: `key_id`, usage.ByModel: `coalesce(nullif(answered_model, ''), nullif(routed_model, ''), requested_model)`,
	usage.ByBackend: `backend`, usage.ByDay: `''`,
}

// CountUsage implements usage.Store.
func (db *DB) CountUsage(ctx context.Context, filter usage.Filter, by usage.Dimension) ([]usage.Count, error) {
	quarter := `0`
	if by == usage.ByDay {
		quarter = fmt.Sprintf(`time / %[1]d * %[1]d`, usage.Quarter.Microseconds())
	}
	var last int64
	if err := db.read.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM usage`).Scan(&last); err != nil {
		return nil, fmt.Errorf("find the last usage: %w", err)
	}
	before, err := usage.Before(last, filter.Since, func(id int64) (time.Time, error) {
		var at int64
		err := db.read.QueryRowContext(ctx, `SELECT time FROM usage WHERE id >= ? ORDER BY id LIMIT 1`, id).Scan(&at)
		return fromMicros(at), err
	})
	if err != nil {
		return nil, fmt.Errorf("find the first usage: %w", err)
	}
	rows, err := db.read.QueryContext(ctx, `SELECT project_id, `+countNames[by]+` AS name, `+quarter+` AS quarter, count(*), sum(status >= 400),
			sum(input_tokens), sum(output_tokens), sum(cache_read_input_tokens), sum(cache_creation_input_tokens), coalesce(sum(cost_micro_usd), 0),
			sum(cost_micro_usd IS NULL AND input_tokens + output_tokens + cache_read_input_tokens + cache_creation_input_tokens > 0)
		FROM usage WHERE id > ?5 AND time >= ?1 AND time < ?2 AND (?3 = '' OR project_id = ?3) AND (?4 = '' OR key_id = ?4)
		GROUP BY project_id, name, quarter`, append(usageArgs(filter), before)...)
	if err != nil {
		return nil, fmt.Errorf("count usage: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var counts []usage.Count
	for rows.Next() {
		var c usage.Count
		var at int64
		if err := rows.Scan(&c.ProjectID, &c.Name, &at, &c.Rows, &c.Errors, &c.Usage.InputTokens, &c.Usage.OutputTokens,
			&c.Usage.CacheReadInputTokens, &c.Usage.CacheCreationInputTokens, &c.CostMicroUSD, &c.Unpriced); err != nil {
			return nil, fmt.Errorf("scan usage count: %w", err)
		}
		if by == usage.ByDay {
			c.Quarter = fromMicros(at)
		}
		counts = append(counts, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count usage: %w", err)
	}
	return counts, nil
}

// LastDays implements usage.Store.
func (db *DB) LastDays(ctx context.Context) (map[string]time.Time, error) {
	rows, err := db.usage.lastDays.QueryContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("select the last days: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	days := map[string]time.Time{}
	for rows.Next() {
		var key string
		var day int64
		if err := rows.Scan(&key, &day); err != nil {
			return nil, fmt.Errorf("scan a last day: %w", err)
		}
		days[key] = fromMicros(day)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select the last days: %w", err)
	}
	return days, nil
}
