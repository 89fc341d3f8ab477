package clipool

import (
	"maps"
	"time"

	"claude-code-api-service/internal/message"
)

// kept is the conversation that a worker still holds after an answer, so that
// the caller's next request sends only what is new.
type kept struct {
	key string
	// before is the digest of what the worker holds, the answer included.
	before digest
	// calls are the ids of the open tool calls: the worker is parked in the middle
	// of a turn. nil: the turn is over.
	calls []string
	// spent is what the requests of the open turn came to.
	spent spent
	since time.Time
}

func (k *kept) parked() bool { return k != nil && k.calls != nil }

// maxKeptTurns bounds a conversation that is kept: taking it out of a worker
// costs 2 ms for every turn of the user.
const maxKeptTurns = 100

// claim gives the worker that holds the request's conversation, nil when none
// does. One that waits for results which come with another conversation waits in
// vain: it is emptied.
func (p *Pool) claim(w *work) (*worker, *kept) {
	if len(w.Turns) < 2 {
		return nil, nil // it continues nothing
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.talks(w.demand.key)
	for i := len(p.kept) - 1; i >= 0; i-- {
		worker := p.kept[i]
		switch k := worker.kept; {
		case worker.exited():
		case w.continues(k):
			p.unkeep(i)
			p.give(worker, w.demand)
			p.publish()
			return worker, k
		case w.overtakes(k):
			p.reclaim(i)
			p.arrange()
			p.publish()
		}
	}
	return nil, nil
}

// A key whose requests go on with conversations is remembered for talkFor, up to
// maxTalkers of them.
const (
	talkFor    = time.Hour
	maxTalkers = 10_000
)

// talks notes that a key has conversations. Holding one costs other requests
// something: they come to a worker that has rested for longer (2 ms a turn, on two
// cores). For a key that asks single questions nothing is held.
func (p *Pool) talks(key string) {
	now := time.Now()
	if len(p.talkers) >= maxTalkers {
		maps.DeleteFunc(p.talkers, func(_ string, last time.Time) bool { return now.Sub(last) > talkFor })
	}
	if len(p.talkers) < maxTalkers {
		p.talkers[key] = now
	}
}

func (p *Pool) isTalker(key string) bool {
	last, known := p.talkers[key]
	return known && time.Since(last) <= talkFor
}

// unkeep takes a worker out of those that hold a conversation.
func (p *Pool) unkeep(i int) *worker {
	w := p.kept[i]
	w.kept = nil
	p.kept = append(p.kept[:i], p.kept[i+1:]...)
	return w
}

// keep lets a worker hold its conversation for a while.
func (p *Pool) keep(w *worker, k *kept) {
	if w.exited() {
		p.discard(w) // watch has looked for it already
		p.arrange()
		return
	}
	k.since = time.Now()
	w.kept = k
	w.phase.Store(resting)
	p.kept = append(p.kept, w)
	over, first := -p.maxHeld(), -1
	for i, other := range p.kept {
		if !other.kept.parked() {
			over++
			if first < 0 {
				first = i
			}
		}
	}
	if over > 0 {
		p.reclaim(first)
	}
	p.arrange()
}

// maxHeld is how many workers may hold a conversation that is at rest: the
// others are empty, so that a new one needn't wait for the emptying.
func (p *Pool) maxHeld() int { return max(1, p.size/2) }

// reclaim takes the conversation out of a worker that holds one. Should it be
// continued later, it is replayed.
func (p *Pool) reclaim(i int) {
	w := p.unkeep(i)
	if !p.reusable() || w.exited() {
		p.discard(w)
		return
	}
	p.empty(w)
}

// reclaimFor makes room for requests that wait, at the cost of conversations that
// are kept, the oldest first. Those of the same class are emptied: that takes less
// time than a start. Others are replaced, where nothing else will be free soon.
func (p *Pool) reclaimFor() {
	if p.queue.size == 0 {
		return
	}
	for i := 0; i < len(p.kept); {
		if p.reusable() && p.wanted(p.kept[i].class) {
			p.reclaim(i)
		} else {
			i++
		}
	}
	for len(p.kept) > 0 && len(p.idle) == 0 && p.hurried() {
		p.discard(p.unkeep(0))
		p.startMore()
	}
}

// wanted says that more requests of the class wait than workers of it will be
// free in a moment.
func (p *Pool) wanted(class string) bool {
	return p.queue.count(class) > p.emptying[class]
}

// hurried says that more requests wait than workers will be free soon, and that
// another one could be started if there were room.
func (p *Pool) hurried() bool {
	return p.queue.size > p.soon() && p.starting < p.options.Starting && p.full() && !p.troubled()
}

// expire ends what has been kept for too long, and workers that have grown.
func (p *Pool) expire(grown map[*worker]bool) {
	for i := len(p.kept) - 1; i >= 0; i-- {
		w := p.kept[i]
		limit := p.options.HoldFor
		if w.kept.parked() {
			limit = p.options.ParkFor
		}
		switch {
		case grown[w] && !w.kept.parked():
			p.discard(p.unkeep(i))
		case time.Since(w.kept.since) >= limit:
			p.reclaim(i)
		}
	}
}

// keepable says what of a request's conversation its worker may keep, nil for
// nothing.
func (p *Pool) keepable(w *work, worker *worker, answer answered) *kept {
	rests := answer.StopReason == message.StopEndTurn || answer.StopReason == message.StopStopSequence
	holds := rests && answer.Settled && p.options.HoldFor > 0 && p.reusable() && len(w.Turns) <= maxKeptTurns && !p.worn(worker)
	if len(answer.Calls) == 0 && !holds {
		return nil
	}
	w.history.addAnswer(answer.Content)
	return &kept{key: w.demand.key, before: w.history.sum(), calls: answer.Calls, spent: answer.spent}
}
