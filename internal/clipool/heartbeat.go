package clipool

import "time"

// heartbeat asks idle workers for a sign of life, one after the other, and
// replaces one that gives none. A request takes another worker meanwhile; if there
// is none it waits for the answer, 1 to 3 ms. A worker that holds a conversation
// isn't asked: it is emptied soon, which is as good a sign.
func (p *Pool) heartbeat() {
	ticker := time.NewTicker(p.options.InspectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-ticker.C:
			for p.ping() {
			}
		}
	}
}

// ping asks the worker that wasn't heard of for longest; false when none is due.
func (p *Pool) ping() bool {
	p.mu.Lock()
	oldest := -1
	for i, w := range p.idle {
		if time.Since(w.heard) >= p.options.HeartbeatEvery && (oldest < 0 || w.heard.Before(p.idle[oldest].heard)) {
			oldest = i
		}
	}
	if oldest < 0 || p.closed {
		p.mu.Unlock()
		return false
	}
	w := p.takeIdle(oldest)
	p.pinged = w
	p.publish()
	p.mu.Unlock()

	err := w.process.Ping(p.life)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.pinged = nil
	if err != nil || p.closed || w.exited() || p.outdated(w) {
		if err != nil && !p.closed && !w.exited() {
			p.options.Logger.Warn("an idle worker gives no sign of life", "pid", w.process.PID(), "error", err)
		}
		p.discard(w)
		p.arrange()
	} else {
		w.heard = time.Now()
		p.settle(w)
	}
	p.publish()
	return true
}
