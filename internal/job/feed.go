package job

import (
	"context"
	"sync"
	"time"
)

const (
	// behind is how many events a listener may be behind before it has to read them from
	// the store.
	behind = 256
	// page is how many events are read at once.
	page = 200
	// pollNear and pollFar are how often a listener looks for what it wasn't told of:
	// with nobody who tells, and with a Bus.
	pollNear = time.Second
	pollFar  = 15 * time.Second
)

// feed brings what happens in this process's runs to those who listen here.
type feed struct {
	mu        sync.Mutex
	listeners map[string]map[*listener]bool // by job
}

// listener is one who follows a job.
type listener struct {
	wake chan struct{}

	mu     sync.Mutex
	events []Event
	missed bool
}

func (f *feed) join(id string) *listener {
	l := &listener{wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners == nil {
		f.listeners = map[string]map[*listener]bool{}
	}
	if f.listeners[id] == nil {
		f.listeners[id] = map[*listener]bool{}
	}
	f.listeners[id][l] = true
	return l
}

func (f *feed) leave(id string, l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if delete(f.listeners[id], l); len(f.listeners[id]) == 0 {
		delete(f.listeners, id)
	}
}

// publish gives events to a job's listeners. Without events, they look into the store.
func (f *feed) publish(id string, events ...Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.listeners[id] {
		l.give(events)
	}
}

// lookAll has every listener look into the store.
func (f *feed) lookAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, listeners := range f.listeners {
		for l := range listeners {
			l.give(nil)
		}
	}
}

func (l *listener) give(events []Event) {
	l.mu.Lock()
	if len(events) == 0 || len(l.events)+len(events) > behind {
		l.missed = true
	}
	if len(l.events)+len(events) > behind {
		l.events = nil
	} else {
		l.events = append(l.events, events...)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *listener) take() (events []Event, missed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, missed = l.events, l.missed
	l.events, l.missed = nil, false
	return events, missed
}

// follow gives a job's events from the feed where that has them all, else from the
// store.
func (e *Engine) follow(ctx context.Context, id string, after int64, yield func(Event, error) bool) {
	l := e.feed.join(id)
	defer e.feed.leave(id, l)
	every := pollFar
	if e.options.Bus == nil {
		every = pollNear
	}
	poll := time.NewTicker(every)
	defer poll.Stop()
	for look := true; ; {
		if look && e.replay(ctx, id, &after, yield) {
			return
		}
		select {
		case <-ctx.Done():
			yield(Event{}, ctx.Err())
			return
		case <-poll.C:
			look = true
		case <-l.wake:
			var events []Event
			events, look = l.take()
			for _, event := range events {
				if event.Seq > after+1 {
					look = true // some were missed
					break
				}
				if event.Seq > 0 && event.Seq <= after {
					continue
				}
				if !yield(event, nil) {
					return
				}
				after = max(after, event.Seq)
			}
		}
	}
}

// replay gives what the store has, and says whether nothing more will come.
func (e *Engine) replay(ctx context.Context, id string, after *int64, yield func(Event, error) bool) (ended bool) {
	for {
		events, last, err := e.store.Events(ctx, id, *after, page)
		if err != nil {
			yield(Event{}, err)
			return true
		}
		for _, event := range events {
			if !yield(event, nil) {
				return true
			}
			*after = event.Seq
		}
		if last {
			return true
		}
		if len(events) < page {
			return false
		}
	}
}
