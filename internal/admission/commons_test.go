package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"claude-code-api-service/internal/budget"
)

// commons is Shares as a database is, in memory: the model to which the nodes of a
// test are held. Its limits are small.
type commons struct {
	mu        sync.Mutex
	nodes     map[string]bool
	resources map[string]*resource
	spent     map[budget.Owner]budget.Amount
	recalls   map[int]func(node string, owner budget.Owner, resource string)
	next      int
	exchanges int
	slow      time.Duration // what an exchange takes
	lose      int           // of how many exchanges the answer is lost from now on
}

// resource is one that is shared.
type resource struct {
	rows     map[string]*row
	about    Ask
	capacity int64 // of the pool
	level    int64 // in 60-millionths
	at       time.Time
}

type row struct{ turn, granted, ready, given, givenReady, used int64 }

func (r *row) has() int64 { return max(0, r.granted-r.given-r.used) }

const unit = 60_000_000

// whole is the pool's level, rounded down.
func (r *resource) whole() int64 {
	if r.level < 0 {
		return -((-r.level + unit - 1) / unit)
	}
	return r.level / unit
}

func newCommons() *commons {
	return &commons{
		nodes: map[string]bool{}, resources: map[string]*resource{}, spent: map[budget.Owner]budget.Amount{},
		recalls: map[int]func(string, budget.Owner, string){},
	}
}

func (c *commons) Recalls(fn func(node string, owner budget.Owner, resource string)) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	at := c.next
	c.recalls[at] = fn
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.recalls, at)
	}
}

func (c *commons) Exchange(_ context.Context, node string, turn int64, asks []Ask) (answers []Answer, nodes int, err error) {
	time.Sleep(c.slow)
	c.mu.Lock()
	c.exchanges++
	if !c.nodes[node] {
		c.mu.Unlock()
		return nil, 0, errors.New("not a member")
	}
	var told []func()
	for _, a := range asks {
		answer, recall := c.decide(node, turn, a)
		answers = append(answers, answer)
		for _, fn := range c.recalls {
			if recall {
				told = append(told, func() { fn(node, a.Owner, a.Resource) })
			}
		}
	}
	nodes = len(c.nodes)
	lost := c.lose > 0
	if lost {
		c.lose--
	}
	c.mu.Unlock()
	if lost {
		return nil, 0, errors.New("the answer is lost")
	}
	for _, tell := range told {
		tell()
	}
	return answers, nodes, nil
}

func (c *commons) decide(node string, turn int64, a Ask) (answer Answer, recall bool) {
	name := fmt.Sprint(a.Owner, a.Resource, a.Since)
	r := c.resources[name]
	if r == nil {
		r = &resource{rows: map[string]*row{}, about: a, capacity: a.Limit, level: a.Limit * unit, at: time.Now()}
		c.resources[name] = r
	}
	m := r.rows[node]
	opened := m != nil
	if opened && turn <= m.turn {
		return Answer{}, false // it comes late
	}
	if !opened {
		m = &row{granted: a.Given + a.Used, ready: a.GrantedReady, given: a.Given, givenReady: a.GivenReady, used: a.Used}
		r.rows[node] = m
	}
	m.turn, m.given = turn, a.Given
	for other, x := range r.rows {
		if other != node {
			answer.Others += x.has()
		}
	}
	answer.Spent = c.spent[a.Owner].In(a.Unit)
	if a.Unit == "" {
		answer.Spent = 0
	}
	free := max(0, a.Limit-answer.Spent-answer.Others-m.has())
	rate := a.Resource == sharedRequests || a.Resource == sharedTokens
	now := time.Now()
	if rate {
		r.level += (a.GivenReady-m.givenReady)*unit + min(r.capacity, free)*now.Sub(r.at).Microseconds()
		r.level = min(r.level, free*unit)
		m.givenReady = a.GivenReady
	}
	lent := min(free, max(a.Want, min(a.Like, (free+1)/2)))
	if len(c.nodes) == 1 && answer.Others == 0 && a.Want+a.Like > 0 {
		lent = free
	}
	ready := int64(0)
	if rate && (r.level >= 0 || lent == free && lent > 0) {
		ready = min(lent, r.whole())
	}
	m.granted, m.ready = m.granted+lent, m.ready+ready
	if rate {
		r.level, r.capacity, r.at = r.level-ready*unit, free-lent, now
		answer.Pool = r.whole()
	}
	answer.Granted, answer.GrantedReady = m.granted, m.ready
	if a.Close || !opened && lent == 0 {
		delete(r.rows, node)
	}
	got := lent
	if rate {
		got = ready
	}
	return answer, a.Recall && answer.Others > 0 && got < a.Want
}

// spend is the ledger's commit of a node: what is spent comes out of its leases.
func (c *commons) spend(node string, owners []budget.Owner, amount budget.Amount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, owner := range owners {
		c.spent[owner] = c.spent[owner].Add(amount)
		for _, r := range c.resources {
			if m := r.rows[node]; m != nil && r.about.Owner == owner && r.about.Unit != "" {
				m.used += amount.In(r.about.Unit)
			}
		}
	}
}

// check reports what is leased or spent beyond its limit.
func (c *commons) check(report func(string, ...any)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, r := range c.resources {
		var leased int64
		for _, m := range r.rows {
			leased += m.has()
		}
		if r.about.Unit != "" {
			leased += c.spent[r.about.Owner].In(r.about.Unit)
		}
		if leased > r.about.Limit {
			report("%s: %d of %d are leased or spent", name, leased, r.about.Limit)
		}
	}
}

func (c *commons) join(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[node] = true
}

// asked is how many exchanges there were.
func (c *commons) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exchanges
}

// die is a node's death: what it had is there again, of a rate as if it were used.
func (c *commons) die(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, node)
	for _, r := range c.resources {
		delete(r.rows, node)
	}
}

// membership is a Member that a test takes away and gives again.
type membership struct {
	mu   sync.Mutex
	id   string
	away bool
}

func (m *membership) ID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

func (m *membership) Is(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.away && m.id == id
}

func (m *membership) set(id string, away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id, m.away = id, away
}
