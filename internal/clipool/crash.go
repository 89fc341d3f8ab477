package clipool

import (
	"errors"
	"slices"
	"time"

	"claude-code-api-service/internal/apierror"
)

// Workers that end by themselves, again and again, before one has served anything
// are no better than workers that don't start: the pool has failed then, and tries
// one at a time, later and later, until one has served a request or lived for a
// while. Everything here needs the pool's lock.
const (
	crashDeaths = 10
	crashWindow = time.Minute
	provenAfter = 10 * time.Second
)

// crashes are the deaths of workers that had served nothing, since one did.
type crashes struct {
	deaths []time.Time // within the last crashWindow
	loop   bool        // there were crashDeaths of them
}

func (c *crashes) last() time.Time {
	if len(c.deaths) == 0 {
		return time.Time{}
	}
	return c.deaths[len(c.deaths)-1]
}

// died notes that a worker has ended by itself.
func (p *Pool) died(w *worker) {
	now := time.Now()
	p.options.Logger.Warn("a worker ended by itself", "pid", w.process.PID(), "turns", w.process.Turns(),
		"age", now.Sub(w.since).Round(time.Millisecond), "how", w.process.Ending())
	if w.served {
		return
	}
	c := &p.crashes
	c.deaths = append(slices.DeleteFunc(c.deaths, func(at time.Time) bool { return now.Sub(at) > crashWindow }), now)
	if c.loop || len(c.deaths) >= crashDeaths {
		c.loop = true
		p.startFailed(apierror.Wrap(apierror.CLIError, "the Claude Code CLI keeps ending before it has answered", errors.New(w.process.Ending())))
	}
}

// onTrial says that a worker is being tried: it starts, or none that was started
// since the last death has died yet.
func (p *Pool) onTrial() bool {
	if p.starting > 0 {
		return true
	}
	for w := range p.alive {
		if w.since.After(p.crashes.last()) {
			return true
		}
	}
	return false
}

// survived ends a crash loop when a worker that was started since the last death
// has lived for a while.
func (p *Pool) survived() {
	if !p.crashes.loop {
		return
	}
	for w := range p.alive {
		if w.since.After(p.crashes.last()) && time.Since(w.since) >= provenAfter && !w.exited() {
			p.proved()
			return
		}
	}
}

// proved says that a worker is as it should be.
func (p *Pool) proved() {
	loop := p.crashes.loop
	p.crashes = crashes{}
	if loop {
		p.options.Logger.Info("the CLI's workers live again")
		p.recovered()
		p.arrange()
	}
}
