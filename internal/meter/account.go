package meter

import (
	"sync"
)

// Account is what one process of the CLI presents. It is safe for concurrent use.
type Account struct {
	meter *Meter
	token string

	mu     sync.Mutex
	run    *run // the one whose calls are served; nil: none
	closed bool
}

// BaseURL is the address of the Messages API for the process, without /v1.
func (a *Account) BaseURL() string { return a.meter.url }

// Token is the secret by which the process is known. It is in no log.
func (a *Account) Token() string { return a.token }

// Env gives what the process needs in its environment, each as NAME=VALUE: nothing
// else may name an upstream or a credential there.
func (a *Account) Env() []string {
	env := []string{"ANTHROPIC_BASE_URL=" + a.BaseURL()}
	if a.meter.options.Login {
		return append(env, "ANTHROPIC_CUSTOM_HEADERS="+headerRun+": "+a.token)
	}
	return append(env, "ANTHROPIC_API_KEY="+a.token)
}

// Use begins a run of the same process: calls from here on are the run's, and Totals
// begin at nothing. What is open of the former run is still that one's, and Use waits
// until it has ended.
func (a *Account) Use(r Run) {
	next := newRun(a.meter, r)
	a.mu.Lock()
	former := a.run
	if a.closed {
		next.end()
	}
	a.run = next
	a.mu.Unlock()
	if former != nil {
		former.end()
	}
}

// present is the run whose calls are served; nil: none.
func (a *Account) present() *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run
}

// Totals gives what the present run has used. It holds what an answer has cost before
// its last byte reaches the process.
func (a *Account) Totals() Totals {
	if r := a.present(); r != nil {
		return r.sum.totals()
	}
	return Totals{CostMicroUSD: new(int64)}
}

// End ends the present run: the calls that are open end, and what comes later is
// refused until Use. It returns when they are recorded, with the run's last totals.
func (a *Account) End() Totals {
	r := a.present()
	if r == nil {
		return Totals{CostMicroUSD: new(int64)}
	}
	r.end()
	return r.sum.totals()
}

// Close ends the calls that are open and forgets the token. It returns when they are
// recorded: Totals don't change afterwards. It may be called more than once.
func (a *Account) Close() {
	a.meter.mu.Lock()
	delete(a.meter.accounts, hash(a.token))
	a.meter.mu.Unlock()
	a.mu.Lock()
	a.closed = true
	r := a.run
	a.mu.Unlock()
	if r != nil {
		r.end()
	}
}
