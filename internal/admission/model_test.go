package admission_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

// holding is what a node knows of one resource, as a lease does.
type holding struct {
	ask                   admission.Ask
	granted, grantedReady int64
}

func (h *holding) has() int64 { return max(0, h.granted-h.ask.Given-h.ask.Used) }

// party is a node of the database and of the model.
type party struct {
	id     string
	db     *postgres.DB
	shares admission.Shares
	turn   int64
	holds  []*holding
	former []admission.Ask // the last exchange
}

// table is what sits around one database and one model of it.
type table struct {
	t       *rapid.T
	ctx     context.Context
	raw     *pgx.Conn
	model   admission.Commons
	owner   budget.Owner
	parties []*party
}

// tables counts them: each has an owner and nodes of its own in the one database.
var tables atomic.Int64

// come has a party be a new node.
func (b *table) come(p *party) {
	p.id, p.turn, p.former = fmt.Sprint("node-", tables.Add(1)), 0, nil
	if err := p.db.JoinNode(b.ctx, p.id, time.Hour); err != nil {
		b.t.Fatal(err)
	}
	b.model.Join(p.id)
	p.holds = nil
	for _, resource := range []string{"requests", "concurrent", "total-tokens"} {
		h := &holding{ask: admission.Ask{Owner: b.owner, Resource: resource}}
		if resource == "total-tokens" {
			h.ask.Period, h.ask.Since, h.ask.Unit = budget.Total, budget.Total.Start(time.Now()), budget.Tokens
		}
		p.holds = append(p.holds, h)
	}
}

func (b *table) leave(p *party) {
	if err := p.db.LeaveNode(b.ctx, p.id); err != nil {
		b.t.Fatal(err)
	}
	b.model.Die(p.id)
}

// exchange asks both for the same, and compares what they answer.
func (b *table) exchange(p *party, turn int64, asks []admission.Ask) []admission.Answer {
	got, nodes, err := p.shares.Exchange(b.ctx, p.id, turn, asks)
	want, others, modelErr := b.model.Exchange(b.ctx, p.id, turn, asks)
	if err != nil || modelErr != nil {
		b.t.Fatalf("PostgreSQL: %v; the model: %v", err, modelErr)
	}
	if late := nodes == 0; !late && nodes != others { // of one that comes late nothing is said
		b.t.Fatalf("%d nodes, by the model %d", nodes, others)
	}
	for i := range asks {
		if got[i] != want[i] {
			b.t.Fatalf("turn %d of %s asks\n%+v, and is answered\n%+v, by the model\n%+v", turn, p.id, asks[i], got[i], want[i])
		}
	}
	return got
}

// ask has a party say something of some of its resources. It may never hear the answer.
func (b *table) ask(p *party, heard bool) {
	draw := func(name string, least, most int64) int64 { return rapid.Int64Range(least, most).Draw(b.t, name) }
	var asks []admission.Ask
	var about []*holding
	for _, h := range p.holds {
		if !rapid.Bool().Draw(b.t, h.ask.Resource) {
			continue
		}
		a := &h.ask
		a.Limit = draw("limit", 2, 8)
		gives, owed := draw("gives", 0, h.has()), int64(0)
		if gives > 0 && gives == h.has() {
			owed = 2 // a node that gives all of a rate gives what it owes beyond that, too
		}
		a.Given += gives
		if a.Resource == "requests" {
			a.GivenReady += draw("ready", -owed, gives)
		}
		a.GrantedReady, a.Want, a.Like, a.Close = h.grantedReady, 0, 0, false
		if a.Close = h.has() == 0 && rapid.Bool().Draw(b.t, "close"); !a.Close {
			a.Want = draw("wants", 0, 3)
			a.Like = a.Want + draw("likes", 0, 3)
		}
		asks, about = append(asks, *a), append(about, h)
	}
	if len(asks) == 0 {
		return
	}
	p.turn++
	for i, answer := range b.exchange(p, p.turn, asks) {
		if !heard {
			break
		}
		about[i].granted, about[i].grantedReady = answer.Granted, answer.GrantedReady
	}
	p.former = asks
}

// spend has a party's ledger store what a call has used, maybe more than it has.
func (b *table) spend(p *party) {
	h := p.holds[len(p.holds)-1]
	tokens := rapid.Int64Range(0, h.has()+1).Draw(b.t, "tokens")
	sum := usage.Sum{Day: budget.Day.Start(time.Now()), ProjectID: "p-" + b.owner.ID, KeyID: b.owner.ID, Model: "m", Requests: 1}
	sum.Usage.InputTokens = tokens
	if err := p.db.AppendUsage(b.ctx, nil, []usage.Sum{sum}); err != nil {
		b.t.Fatal(err)
	}
	b.model.Spend(p.id, b.owner, tokens)
	h.ask.Used += tokens
}

// pass has time pass, of which what is left over is too little to make a difference while a
// test runs.
func (b *table) pass() {
	d := time.Duration(rapid.IntRange(1, 3).Draw(b.t, "half minutes")) * 30 * time.Second
	if _, err := b.raw.Exec(b.ctx, `UPDATE share_pools SET at = at - $1::interval WHERE owner_id = $2`, d, b.owner.ID); err != nil {
		b.t.Fatal(err)
	}
	b.model.Pass(d)
}

// TestTheModelIsWhatPostgreSQLDoes has three nodes exchange, spend, die and come again in
// front of PostgreSQL and of the model to which the other tests hold admission: both
// answer the same, each time.
func TestTheModelIsWhatPostgreSQLDoes(t *testing.T) {
	address := pgtest.Database(t)
	raw, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close(context.WithoutCancel(t.Context())) }()
	parties := make([]*party, 3)
	for i := range parties {
		p := &party{}
		if p.db, err = postgres.Open(t.Context(), postgres.Options{URL: address}); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.db.Close() }()
		p.shares = p.db.Shares(func() string { return p.id })
		parties[i] = p
	}
	rapid.Check(t, func(rt *rapid.T) {
		b := &table{t: rt, ctx: t.Context(), raw: raw, model: admission.NewCommons(), parties: parties}
		b.owner = budget.Owner{Kind: budget.Key, ID: fmt.Sprint("key-", tables.Add(1))}
		for _, p := range parties {
			b.come(p)
			defer func() { _ = p.db.LeaveNode(t.Context(), p.id) }()
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			p := parties[rapid.IntRange(0, 2).Draw(rt, "party")]
			what := rapid.SampledFrom([]string{"ask", "ask", "ask", "ask", "lost", "spend", "pass", "late", "die"}).Draw(rt, "what")
			switch what {
			case "ask", "lost":
				b.ask(p, what == "ask")
			case "spend":
				b.spend(p)
			case "pass":
				b.pass()
			case "late":
				if p.former != nil {
					b.exchange(p, p.turn, p.former)
				}
			case "die":
				b.leave(p)
				b.come(p)
			}
		}
	})
}
