package postgres

import (
	"context"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/budget"
)

// channelShares is where nodes hear of what others want of limits.
const channelShares = "claude_api_shares"

// shares is what nodes share of limits and budgets: it implements admission.Shares.
type shares struct{ db *DB }

// Shares makes AppendUsage take what it stores from the leases of the node whose id
// node gives, and gives the store of those leases. It is called once, before the
// database is used for either.
func (db *DB) Shares(node func() string) admission.Shares {
	db.node = node
	return &shares{db}
}

// What an exchange does first. Whoever decides about a resource is alone with it, from before it
// looks until it has committed. The rows of one node are locked in one order here
// and in the ledger's commit.
const (
	lockResources = `SELECT pg_advisory_xact_lock(name) FROM unnest($1::bigint[]) AS name`
	lockLeases    = `
		SELECT FROM share_leases l JOIN unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[]) AS a (owner_kind, owner_id, resource, since)
		USING (owner_kind, owner_id, resource, since)
		WHERE l.node = $1 ORDER BY owner_kind, owner_id, resource, since FOR UPDATE OF l`
)

// spentBy adds up what an owner has spent in a budget's period.
const spentBy = `(SELECT coalesce(sum(CASE a.unit WHEN 'usd' THEN cost_micro_usd + charged_micro_usd ELSE input_tokens + output_tokens + charged_tokens END), 0)::bigint
	FROM usage_days WHERE day >= a.since AND day < a.until AND `

// exchange decides all asks of a node, each by what it sees under the locks:
//
//   - own is what the node keeps, others what the other nodes have, spent what the
//     ledger says. What is left of the limit is free.
//   - ready is how much of a rate's free part has come back, at the pace that the free part
//     had since the last exchange, and at most all of it.
//   - A node that is alone gets all that is free, else what it wants, and for what it
//     would like beyond at most half.
const exchange = `
WITH clock AS MATERIALIZED (
	SELECT clock_timestamp() AS now, (SELECT count(*) FROM nodes WHERE expires_at > clock_timestamp()) AS nodes
),
seen AS MATERIALIZED (
	SELECT a.*, p.capacity, p.level, p.at, m.node IS NOT NULL AS opened,
		coalesce(m.granted, a.given + a.used) AS old_granted, coalesce(m.granted_ready, a.granted_ready) AS old_ready,
		coalesce(m.given_ready, a.given_ready) AS old_given_ready,
		greatest(0, coalesce(m.granted - m.used, a.given) - a.given) AS own,
		(SELECT coalesce(sum(greatest(0, o.granted - o.given - o.used)), 0)::bigint FROM share_leases o
			WHERE o.owner_kind = a.owner_kind AND o.owner_id = a.owner_id AND o.resource = a.resource AND o.since = a.since AND o.node <> $1) AS others,
		CASE WHEN a.unit = '' THEN 0
			WHEN a.owner_kind = 'key' THEN ` + spentBy + `key_id = a.owner_id)
			ELSE ` + spentBy + `project_id = a.owner_id) END AS spent,
		a.resource IN ('requests', 'tokens') AS rate
	FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
		$9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::boolean[], $16::boolean[], $17::bigint[])
		WITH ORDINALITY AS a (owner_kind, owner_id, resource, unit, since, until, most, given, given_ready, used, want, liking, recall, closing, granted_ready, place)
	LEFT JOIN share_leases m ON m.node = $1 AND m.owner_kind = a.owner_kind AND m.owner_id = a.owner_id AND m.resource = a.resource AND m.since = a.since
	LEFT JOIN share_pools p ON p.owner_kind = a.owner_kind AND p.owner_id = a.owner_id AND p.resource = a.resource
	WHERE coalesce(m.turn, 0) < $2
),
left_over AS MATERIALIZED (
	SELECT *, greatest(0, most - spent - others - own) AS free FROM seen
),
come_back AS MATERIALIZED (
	SELECT l.*, CASE WHEN NOT rate THEN 0 WHEN at IS NULL THEN free * 60000000::numeric
		ELSE least(free * 60000000::numeric, level + (given_ready - old_given_ready) * 60000000::numeric
			+ least(capacity, free) * greatest(0, floor(extract(epoch FROM clock.now - at)::numeric * 1000000))) END AS ready
	FROM left_over l CROSS JOIN clock
),
chosen AS MATERIALIZED (
	SELECT c.*, CASE WHEN want + liking = 0 THEN 0 WHEN clock.nodes <= 1 AND others = 0 THEN free
		ELSE least(free, greatest(want, least(liking, (free + 1) / 2))) END AS lent
	FROM come_back c CROSS JOIN clock
),
decided AS MATERIALIZED (
	SELECT *, CASE WHEN NOT rate THEN 0 WHEN lent = free AND lent > 0 OR ready >= 0 THEN least(lent, floor(ready / 60000000))::bigint ELSE 0 END AS lent_ready FROM chosen
),
kept AS (
	INSERT INTO share_leases AS l (node, owner_kind, owner_id, resource, since, until, unit, turn, granted, granted_ready, given, given_ready, used)
	SELECT $1, owner_kind, owner_id, resource, since, until, unit, $2, old_granted + lent, old_ready + lent_ready, given, given_ready, used
	FROM decided WHERE NOT closing AND (opened OR lent > 0)
	ON CONFLICT (node, owner_kind, owner_id, resource, since) DO UPDATE SET turn = excluded.turn,
		granted = excluded.granted, granted_ready = excluded.granted_ready, given = excluded.given, given_ready = excluded.given_ready
),
closed AS (
	DELETE FROM share_leases l USING decided d WHERE d.closing
	AND l.node = $1 AND l.owner_kind = d.owner_kind AND l.owner_id = d.owner_id AND l.resource = d.resource AND l.since = d.since
),
pool AS (
	INSERT INTO share_pools AS p (owner_kind, owner_id, resource, capacity, level, at)
	SELECT owner_kind, owner_id, resource, free - lent, ready - lent_ready * 60000000::numeric, clock.now FROM decided CROSS JOIN clock WHERE rate
	ON CONFLICT (owner_kind, owner_id, resource) DO UPDATE SET capacity = excluded.capacity, level = excluded.level, at = greatest(p.at, excluded.at)
)
SELECT place, old_granted + lent, old_ready + lent_ready, spent, others, floor(ready / 60000000)::bigint - lent_ready, nodes,
	(CASE WHEN recall AND others > 0 AND CASE WHEN rate THEN lent_ready ELSE lent END < want
		THEN pg_notify('` + channelShares + `', $1 || ' ' || owner_kind || ' ' || resource || ' ' || owner_id) END) IS NULL
FROM decided CROSS JOIN clock`

// Exchange implements admission.Shares. It is one round trip, in which the server
// never waits for this node.
func (s *shares) Exchange(ctx context.Context, node string, turn int64, asks []admission.Ask) (answers []admission.Answer, nodes int, err error) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	if len(asks) == 0 {
		if err := s.db.walk.QueryRow(ctx, `SELECT count(*) FROM nodes WHERE expires_at > clock_timestamp()`).Scan(&nodes); err != nil {
			return nil, 0, s.db.failed(ctx, "count nodes", err)
		}
		return nil, nodes, nil
	}
	names := make([]int64, len(asks))
	for i := range asks {
		names[i] = lockName(&asks[i])
	}
	slices.Sort(names)
	text := func(get func(a *admission.Ask) string) []string { return column(asks, get) }
	number := func(get func(a *admission.Ask) int64) []int64 { return column(asks, get) }
	kinds, ids := text(func(a *admission.Ask) string { return string(a.Owner.Kind) }), text(func(a *admission.Ask) string { return a.Owner.ID })
	resources, since := text(func(a *admission.Ask) string { return a.Resource }), column(asks, beginning)
	answers = make([]admission.Answer, len(asks))
	var batch pgx.Batch
	batch.Queue(lockResources, slices.Compact(names))
	batch.Queue(lockLeases, node, kinds, ids, resources, since)
	batch.Queue(exchange, node, turn, kinds, ids, resources, text(func(a *admission.Ask) string { return string(a.Unit) }), since, column(asks, ending),
		number(func(a *admission.Ask) int64 { return a.Limit }), number(func(a *admission.Ask) int64 { return a.Given }),
		number(func(a *admission.Ask) int64 { return a.GivenReady }), number(func(a *admission.Ask) int64 { return a.Used }),
		number(func(a *admission.Ask) int64 { return a.Want }), number(func(a *admission.Ask) int64 { return a.Like }),
		column(asks, func(a *admission.Ask) bool { return a.Recall }), column(asks, func(a *admission.Ask) bool { return a.Close }),
		number(func(a *admission.Ask) int64 { return a.GrantedReady }),
	).Query(func(rows pgx.Rows) error {
		var place int
		var answer admission.Answer
		var told bool
		_, err := pgx.ForEachRow(rows, []any{&place, &answer.Granted, &answer.GrantedReady, &answer.Spent, &answer.Others, &answer.Pool, &nodes, &told}, func() error {
			answers[place-1] = answer
			return nil
		})
		return err
	})
	if err := s.db.walk.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, 0, s.db.failed(ctx, "exchange shares", err)
	}
	return answers, nodes, nil
}

// Recalls implements admission.Shares.
func (s *shares) Recalls(fn func(node string, owner budget.Owner, resource string)) (stop func()) {
	return s.db.Subscribe(channelShares, func(payload string) {
		if parts := strings.SplitN(payload, " ", 4); len(parts) == 4 {
			fn(parts[0], budget.Owner{Kind: budget.Kind(parts[1]), ID: parts[3]}, parts[2])
		}
	})
}

// lockName numbers a resource. Two that have one number only wait for each other.
func lockName(a *admission.Ask) int64 {
	h := fnv.New64a()
	for _, part := range [...]string{string(a.Owner.Kind), a.Owner.ID, a.Resource} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return int64(h.Sum64())
}

func beginning(a *admission.Ask) pgtype.Timestamptz {
	return orInfinity(a.Since, pgtype.NegativeInfinity)
}

func ending(a *admission.Ask) pgtype.Timestamptz {
	if a.Period == "" {
		return orInfinity(time.Time{}, pgtype.Infinity)
	}
	end, _ := a.Period.End(a.Since)
	return orInfinity(end, pgtype.Infinity)
}
