package clipool

import "claude-code-api-service/internal/claudecli"

// Renew makes workers start with other options from now on: with another
// credential. Those that run a request finish it; the others are replaced at once,
// so that no new request is served by one of the former options, except where it
// brings the results of tool calls for which a worker is parked.
func (p *Pool) Renew(process claudecli.Options) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if process.Logger == nil {
		process.Logger = p.options.Logger
	}
	p.options.Process = process
	p.edition++
	for len(p.idle) > 0 {
		p.discard(p.takeIdle(0))
	}
	for i := len(p.kept) - 1; i >= 0; i-- {
		if !p.kept[i].kept.parked() {
			p.discard(p.unkeep(i))
		}
	}
	p.arrange()
	p.publish()
}

// outdated says that a worker was started with former options. The lock must be
// held.
func (p *Pool) outdated(w *worker) bool { return w.edition != p.edition }
