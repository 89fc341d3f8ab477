package job

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// bellEvery is how often a node tells the others of its jobs at the most.
	bellEvery = 20 * time.Millisecond
	// bellTimeout bounds the telling. What couldn't be told is found by those who look.
	bellTimeout = 2 * time.Second
	// bellMost is how long a payload may be; PostgreSQL's are at most 7999 bytes.
	bellMost = 7000
)

// bell tells the other nodes in which jobs something has happened: many in one word, since a
// database lets one node commit its words at a time.
type bell struct {
	bus  Bus // nil: there are no others
	node string
	log  *slog.Logger
	rung chan struct{}

	mu  sync.Mutex
	ids map[string]bool
}

func (b *bell) ring(id string) {
	if b.bus == nil {
		return
	}
	b.mu.Lock()
	b.ids[id] = true
	b.mu.Unlock()
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

func (b *bell) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.rung:
		}
		for _, payload := range b.take() {
			b.tell(ctx, payload)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(bellEvery):
		}
	}
}

// take gives what is to be told: this node's id and those of jobs.
func (b *bell) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var payloads []string
	var text strings.Builder
	for id := range b.ids {
		if text.Len()+len(id) > bellMost {
			payloads = append(payloads, text.String())
			text.Reset()
		}
		if text.Len() == 0 {
			text.WriteString(b.node)
		}
		text.WriteString(" " + id)
	}
	if text.Len() > 0 {
		payloads = append(payloads, text.String())
	}
	clear(b.ids)
	return payloads
}

func (b *bell) tell(ctx context.Context, payload string) {
	ctx, cancel := context.WithTimeout(ctx, bellTimeout)
	defer cancel()
	if err := b.bus.Notify(ctx, Channel, payload); err != nil {
		b.log.WarnContext(ctx, "other nodes can't be told of jobs: they find out later", "error", err)
	}
}

// heard hears from the other nodes.
func (e *Engine) heard(payload string) {
	if payload == "" {
		e.lookNow()
		e.feed.lookAll()
		return
	}
	words := strings.Fields(payload)
	if words[0] == e.node {
		return
	}
	for _, id := range words[1:] {
		e.feed.publish(id)
		if r := e.running(id); r != nil {
			r.answers.ring()
			e.lookNow()
		}
	}
}

// changed tells everybody that something happened in a job that doesn't run here.
func (e *Engine) changed(id string) {
	e.feed.publish(id)
	e.bell.ring(id)
}
