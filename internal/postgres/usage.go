package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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

const newSums = `unnest(
	$26::timestamptz[], $27::text[], $28::text[], $29::text[],
	$30::bigint[], $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[], $35::bigint[], $36::bigint[], $37::bigint[], $38::bigint[]
) AS new (` + sumColumns + `)`

// appendUsage is one statement, and so one round trip and one transaction, during
// which the server never waits for this node. The lock comes before everything
// else, so that nobody waits for it who holds a day's row; those are written in
// one order by every node, so that no two wait for each other.
const (
	appendUsage       = `WITH ` + appendRows
	appendUsageShared = `WITH ` + takeFromLeases + `, ` + appendRows
)

const appendRows = `
turn AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared($39, $40)),
ledger AS (
	INSERT INTO usage (` + usageColumns + `)
	SELECT request_id, time, endpoint, key_id, project_id, backend, requested_model, routed_model, answered_model,
		input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens, cost_micro_usd, stop_reason, status, category,
		nullif(auth_us, -1), nullif(decode_us, -1), nullif(admit_us, -1), nullif(queue_us, -1), nullif(bind_us, -1),
		nullif(first_byte_us, -1), nullif(generate_us, -1), nullif(total_us, -1)
	FROM turn CROSS JOIN unnest(
		$1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
		$10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::bigint[], $17::text[],
		$18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[]
	) WITH ORDINALITY AS new (` + usageColumns + `, place)
	ORDER BY place
)
INSERT INTO usage_days AS old (` + sumColumns + `)
SELECT ` + sumColumns + `
FROM turn CROSS JOIN ` + newSums + `
ORDER BY project_id COLLATE "C", day, key_id COLLATE "C", model COLLATE "C"
ON CONFLICT (project_id, day, key_id, model) DO UPDATE SET
	requests = old.requests + excluded.requests, input_tokens = old.input_tokens + excluded.input_tokens,
	output_tokens = old.output_tokens + excluded.output_tokens,
	cache_read_input_tokens = old.cache_read_input_tokens + excluded.cache_read_input_tokens,
	cache_creation_input_tokens = old.cache_creation_input_tokens + excluded.cache_creation_input_tokens,
	cost_micro_usd = old.cost_micro_usd + excluded.cost_micro_usd, unpriced = old.unpriced + excluded.unpriced,
	charged_tokens = old.charged_tokens + excluded.charged_tokens, charged_micro_usd = old.charged_micro_usd + excluded.charged_micro_usd`

// takeFromLeases turns what this node was lent of budgets into what is spent, as the
// same commit stores it: nobody ever sees it as both, or as neither. It comes before
// the day's rows, for which other nodes wait; the node's leases are locked in the
// order in which an exchange locks them.
const takeFromLeases = `
spent AS MATERIALIZED (
	SELECT owner_kind, owner_id, day, input_tokens + output_tokens + charged_tokens AS tokens, cost_micro_usd + charged_micro_usd AS micro_usd
	FROM ` + newSums + ` CROSS JOIN LATERAL (VALUES ('key', key_id), ('project', project_id)) AS owner (owner_kind, owner_id)
),
mine AS MATERIALIZED (
	SELECT owner_kind, owner_id, resource, since, until, unit
	FROM share_leases l JOIN (SELECT DISTINCT owner_kind COLLATE "C" AS owner_kind, owner_id COLLATE "C" AS owner_id FROM spent) o USING (owner_kind, owner_id)
	WHERE node = $41 AND unit <> '' ORDER BY owner_kind, owner_id, resource, since FOR UPDATE OF l
),
taken AS (
	UPDATE share_leases l SET used = l.used + s.amount
	FROM (
		SELECT m.owner_kind, m.owner_id, m.resource, m.since, sum(CASE m.unit WHEN 'usd' THEN micro_usd ELSE tokens END)::bigint AS amount
		FROM mine m JOIN spent USING (owner_kind, owner_id) WHERE day >= since AND day < until GROUP BY 1, 2, 3, 4
	) s
	WHERE l.node = $41 AND l.owner_kind = s.owner_kind AND l.owner_id = s.owner_id AND l.resource = s.resource AND l.since = s.since AND s.amount <> 0
)`

// AppendUsage implements usage.Store. After an error whose cause is the
// connection the rows may have been stored all the same.
func (db *DB) AppendUsage(ctx context.Context, rows []usage.Row, sums []usage.Sum) error {
	if len(rows)+len(sums) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	statement, args := appendUsage, append(append(usageArgs(rows), sumArgs(sums)...), lockClass, ledgerLock)
	if db.node != nil {
		statement, args = appendUsageShared, append(args, db.node())
	}
	if _, err := db.walk.Exec(ctx, statement, args...); err != nil {
		return db.failed(ctx, "insert usage", err)
	}
	return nil
}

func usageArgs(rows []usage.Row) []any {
	text := func(get func(r *usage.Row) string) []string { return column(rows, get) }
	number := func(get func(r *usage.Row) int64) []int64 { return column(rows, get) }
	args := []any{
		text(func(r *usage.Row) string { return r.RequestID }),
		column(rows, func(r *usage.Row) time.Time { return r.Time }),
		text(func(r *usage.Row) string { return r.Endpoint }),
		text(func(r *usage.Row) string { return r.KeyID }),
		text(func(r *usage.Row) string { return r.ProjectID }),
		text(func(r *usage.Row) string { return r.Backend }),
		text(func(r *usage.Row) string { return r.Requested }),
		text(func(r *usage.Row) string { return r.Routed }),
		text(func(r *usage.Row) string { return r.Answered }),
		number(func(r *usage.Row) int64 { return r.Usage.InputTokens }),
		number(func(r *usage.Row) int64 { return r.Usage.OutputTokens }),
		number(func(r *usage.Row) int64 { return r.Usage.CacheReadInputTokens }),
		number(func(r *usage.Row) int64 { return r.Usage.CacheCreationInputTokens }),
		column(rows, func(r *usage.Row) *int64 { return r.CostMicroUSD }),
		text(func(r *usage.Row) string { return r.StopReason }),
		number(func(r *usage.Row) int64 { return int64(r.Status) }),
		text(func(r *usage.Row) string { return r.Category }),
	}
	for _, stage := range usageStages {
		args = append(args, number(func(r *usage.Row) int64 { return r.Micros[stage] }))
	}
	return args
}

func sumArgs(sums []usage.Sum) []any {
	number := func(get func(s *usage.Sum) int64) []int64 { return column(sums, get) }
	return []any{
		column(sums, func(s *usage.Sum) time.Time { return s.Day }),
		column(sums, func(s *usage.Sum) string { return s.ProjectID }),
		column(sums, func(s *usage.Sum) string { return s.KeyID }),
		column(sums, func(s *usage.Sum) string { return s.Model }),
		number(func(s *usage.Sum) int64 { return s.Requests }),
		number(func(s *usage.Sum) int64 { return s.Usage.InputTokens }),
		number(func(s *usage.Sum) int64 { return s.Usage.OutputTokens }),
		number(func(s *usage.Sum) int64 { return s.Usage.CacheReadInputTokens }),
		number(func(s *usage.Sum) int64 { return s.Usage.CacheCreationInputTokens }),
		number(func(s *usage.Sum) int64 { return s.CostMicroUSD }),
		number(func(s *usage.Sum) int64 { return s.Unpriced }),
		number(func(s *usage.Sum) int64 { return s.Charged.Tokens }),
		number(func(s *usage.Sum) int64 { return s.Charged.MicroUSD }),
	}
}

const (
	spent        = `SELECT coalesce(sum(input_tokens + output_tokens + charged_tokens), 0)::bigint, coalesce(sum(cost_micro_usd + charged_micro_usd), 0)::bigint FROM usage_days WHERE `
	spentKey     = spent + `key_id = $1 AND day >= $2 AND day < $3`
	spentProject = spent + `project_id = $1 AND day >= $2 AND day < $3`
)

// Spent implements usage.Store.
func (db *DB) Spent(ctx context.Context, owner budget.Owner, period budget.Period, start time.Time) (budget.Amount, error) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	query := spentKey
	if owner.Kind == budget.Project {
		query = spentProject
	}
	until := pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	if end, ends := period.End(start); ends {
		until = pgtype.Timestamptz{Time: end, Valid: true}
	}
	var a budget.Amount
	if err := db.walk.QueryRow(ctx, query, owner.ID, start, until).Scan(&a.Tokens, &a.MicroUSD); err != nil {
		return budget.Amount{}, db.failed(ctx, "select what was spent", err)
	}
	return a, nil
}

func chosen(f usage.Filter) []any {
	return []any{orInfinity(f.Since, pgtype.NegativeInfinity), orInfinity(f.Until, pgtype.Infinity), f.ProjectID, f.KeyID}
}

func orInfinity(t time.Time, otherwise pgtype.InfinityModifier) pgtype.Timestamptz {
	if t.IsZero() {
		return pgtype.Timestamptz{InfinityModifier: otherwise, Valid: true}
	}
	return pgtype.Timestamptz{Time: t, Valid: true}
}

// The sums of one project or of all: two queries, because an index serves only the
// first.
const (
	chooseSums = `SELECT ` + sumColumns + ` FROM usage_days WHERE day >= $1 AND day < $2 AND ($4 = '' OR key_id = $4) AND `
	orderSums  = ` ORDER BY day, project_id, key_id, model`
	sumProject = chooseSums + `project_id = $3` + orderSums
	sumAll     = chooseSums + `$3 = ''` + orderSums
)

// SumUsage implements usage.Store.
func (db *DB) SumUsage(ctx context.Context, filter usage.Filter) ([]usage.Sum, error) {
	if !storable(filter.ProjectID, filter.KeyID) {
		return nil, nil
	}
	query := sumAll
	if filter.ProjectID != "" {
		query = sumProject
	}
	rows, _ := db.rest.Query(ctx, query, chosen(filter)...) // its error is that of the rows
	sums, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (usage.Sum, error) {
		var s usage.Sum
		err := row.Scan(&s.Day, &s.ProjectID, &s.KeyID, &s.Model, &s.Requests, &s.Usage.InputTokens, &s.Usage.OutputTokens,
			&s.Usage.CacheReadInputTokens, &s.Usage.CacheCreationInputTokens, &s.CostMicroUSD, &s.Unpriced, &s.Charged.Tokens, &s.Charged.MicroUSD)
		s.Day = s.Day.UTC()
		return s, err
	})
	if err != nil {
		return nil, db.failed(ctx, "sum usage", err)
	}
	return sums, nil
}

// ListUsage implements usage.Store.
func (db *DB) ListUsage(ctx context.Context, after int64, limit int, filter usage.Filter) ([]usage.Row, error) {
	if !storable(filter.ProjectID, filter.KeyID) {
		return nil, nil
	}
	last, err := lastID(ctx, db.rest, ledgerLock, "SELECT coalesce(max(id), 0) FROM usage")
	if err != nil {
		return nil, db.failed(ctx, "find the last usage", err)
	}
	rows, _ := db.rest.Query(ctx, `SELECT id, `+usageColumns+` FROM usage
		WHERE id > $5 AND id <= $6 AND time >= $1 AND time < $2 AND ($3 = '' OR project_id = $3) AND ($4 = '' OR key_id = $4) ORDER BY id LIMIT $7`,
		append(chosen(filter), after, last, limit)...) // its error is that of the rows
	list, err := pgx.CollectRows(rows, scanUsage)
	if err != nil {
		return nil, db.failed(ctx, "select usage", err)
	}
	return list, nil
}

func scanUsage(row pgx.CollectableRow) (usage.Row, error) {
	var r usage.Row
	var took [len(usageStages)]*int64
	fields := []any{
		&r.ID, &r.RequestID, &r.Time, &r.Endpoint, &r.KeyID, &r.ProjectID, &r.Backend, &r.Requested, &r.Routed, &r.Answered,
		&r.Usage.InputTokens, &r.Usage.OutputTokens, &r.Usage.CacheReadInputTokens, &r.Usage.CacheCreationInputTokens,
		&r.CostMicroUSD, &r.StopReason, &r.Status, &r.Category,
	}
	for i := range took {
		fields = append(fields, &took[i])
	}
	if err := row.Scan(fields...); err != nil {
		return usage.Row{}, err
	}
	r.Time = r.Time.UTC()
	for stage := range r.Micros {
		at := slices.Index(usageStages[:], latency.Stage(stage))
		r.Micros[stage] = usage.NotMeasured
		if at >= 0 && took[at] != nil {
			r.Micros[stage] = *took[at]
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
	if !storable(filter.ProjectID, filter.KeyID) {
		return nil, nil
	}
	quarter := `'epoch'::timestamptz`
	if by == usage.ByDay {
		quarter = fmt.Sprintf(`date_bin('%d seconds', time, 'epoch'::timestamptz)`, int(usage.Quarter.Seconds()))
	}
	var last int64
	if err := db.rest.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM usage`).Scan(&last); err != nil {
		return nil, db.failed(ctx, "find the last usage", err)
	}
	before, err := usage.Before(last, filter.Since, func(id int64) (at time.Time, err error) {
		err = db.rest.QueryRow(ctx, `SELECT time FROM usage WHERE id >= $1 ORDER BY id LIMIT 1`, id).Scan(&at)
		return at, err
	})
	if err != nil {
		return nil, db.failed(ctx, "find the first usage", err)
	}
	rows, _ := db.rest.Query(ctx, `SELECT project_id, `+countNames[by]+` AS name, `+quarter+` AS quarter, count(*), count(*) FILTER (WHERE status >= 400),
			sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cache_read_input_tokens)::bigint, sum(cache_creation_input_tokens)::bigint,
			coalesce(sum(cost_micro_usd), 0)::bigint,
			count(*) FILTER (WHERE cost_micro_usd IS NULL AND input_tokens + output_tokens + cache_read_input_tokens + cache_creation_input_tokens > 0)
		FROM usage WHERE id > $5 AND time >= $1 AND time < $2 AND ($3 = '' OR project_id = $3) AND ($4 = '' OR key_id = $4)
		GROUP BY 1, 2, 3`, append(chosen(filter), before)...) // its error is that of the rows
	counts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (usage.Count, error) {
		var c usage.Count
		err := row.Scan(&c.ProjectID, &c.Name, &c.Quarter, &c.Rows, &c.Errors, &c.Usage.InputTokens, &c.Usage.OutputTokens,
			&c.Usage.CacheReadInputTokens, &c.Usage.CacheCreationInputTokens, &c.CostMicroUSD, &c.Unpriced)
		if c.Quarter = c.Quarter.UTC(); by != usage.ByDay {
			c.Quarter = time.Time{}
		}
		return c, err
	})
	if err != nil {
		return nil, db.failed(ctx, "count usage", err)
	}
	return counts, nil
}

// LastDays implements usage.Store.
func (db *DB) LastDays(ctx context.Context) (map[string]time.Time, error) {
	rows, _ := db.rest.Query(ctx, `SELECT key_id, max(day) FROM usage_days GROUP BY key_id`) // its error is that of the rows
	days := map[string]time.Time{}
	var key string
	var day time.Time
	if _, err := pgx.ForEachRow(rows, []any{&key, &day}, func() error { days[key] = day.UTC(); return nil }); err != nil {
		return nil, db.failed(ctx, "select the last days", err)
	}
	return days, nil
}
