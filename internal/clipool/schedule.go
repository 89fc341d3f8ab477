package clipool

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"claude-code-api-service/internal/claudecli"
)

// Which worker serves which request, and when workers start. Everything here
// needs the pool's lock.

// match takes an idle worker for the class: one that served it before, the
// warmest first, else one that served nobody yet.
func (p *Pool) match(class string) *worker {
	fresh := -1
	for i := len(p.idle) - 1; i >= 0; i-- {
		switch p.idle[i].class {
		case class:
			return p.takeIdle(i)
		case "":
			fresh = i
		}
	}
	if fresh < 0 {
		return nil
	}
	w := p.takeIdle(fresh)
	p.own(w, class)
	return w
}

func (p *Pool) takeIdle(i int) *worker {
	w := p.idle[i]
	p.idle = append(p.idle[:i], p.idle[i+1:]...)
	return w
}

func (p *Pool) own(w *worker, class string) {
	if w.class == "" {
		w.class = class
		p.owners[class]++
	}
}

// park gives an emptied or new worker to a request that waits, or keeps it.
func (p *Pool) park(w *worker) {
	if p.closed || w.exited() || p.outdated(w) {
		p.discard(w)
		p.arrange()
		return
	}
	w.heard = time.Now()
	w.idleSince = w.heard
	w.phase.Store(resting)
	p.settle(w)
}

// settle gives a worker that rests to a request that waits, or puts it where it
// belongs among those that are idle.
func (p *Pool) settle(w *worker) {
	switch waiter, replace := p.next(w); {
	case waiter != nil:
		p.hand(w, waiter)
	case replace:
		p.discard(w)
		p.arrange()
	default:
		i := len(p.idle)
		for i > 0 && p.idle[i-1].idleSince.After(w.idleSince) {
			i--
		}
		p.idle = slices.Insert(p.idle, i, w)
		p.arrange()
	}
}

// exited says that the worker has died, in nobody's hands or on its way.
func (w *worker) exited() bool {
	select {
	case <-w.process.Exited():
		return true
	default:
		return false
	}
}

func (p *Pool) hand(w *worker, waiter *waiter) {
	p.queue.remove(waiter)
	p.give(w, waiter.demand)
	p.own(w, waiter.class)
	waiter.grant <- grant{worker: w}
}

// next decides what becomes of a free worker: which waiter gets it, else whether
// it is replaced or kept. The head of the queue has the first claim; a worker of
// another class passes it over only while somebody else serves the head's class
// or will soon, and not for longer than the head's patience, so that two busy
// projects share the pool without a new process for each request, and neither
// waits for ever. While no worker can be started none is replaced.
func (p *Pool) next(w *worker) (waiter *waiter, replace bool) {
	head := p.queue.first()
	if head == nil || w.class == "" || w.class == head.class {
		return head, false
	}
	if !p.full() {
		return p.queue.firstOf(w.class), false // another one is started for the head
	}
	impatient := p.owners[head.class] == 0 || time.Since(head.since) > p.options.Patience
	if impatient && p.starting == 0 && !p.troubled() {
		return nil, true
	}
	if waiter := p.queue.firstOf(w.class); waiter != nil {
		return waiter, false
	}
	return nil, p.queue.size > p.starting && p.starting < p.options.Starting && !p.troubled()
}

// arrange starts as many workers as there is room for, and makes room when a
// request waits and only workers of other classes are idle, or those that hold a
// conversation.
func (p *Pool) arrange() {
	if p.closed || p.features.Load() == nil {
		return
	}
	p.reclaimFor()
	if p.queue.size > p.starting && len(p.idle) > 0 && !p.troubled() && p.starting < p.options.Starting && p.full() {
		p.discard(p.takeIdle(0)) // idle the longest
	}
	p.startMore()
}

// startMore starts as many workers as there is room for.
func (p *Pool) startMore() {
	for p.starting < p.options.Starting && p.retry == nil && p.another() {
		p.starting++
		p.room--
		p.tasks.Go(p.startOne)
	}
}

// startProcess starts a process and waits until it is ready.
func (p *Pool) startProcess(options claudecli.Options) (process, error) {
	options.Features = *p.features.Load()
	process, err := claudecli.Start(options)
	if err != nil {
		return nil, err
	}
	if err := process.Ready(p.life); err != nil {
		process.Close()
		return nil, err
	}
	return process, nil
}

// startOne adds a worker.
func (p *Pool) startOne() {
	p.mu.Lock()
	start := p.begin()
	p.mu.Unlock()
	process, err := p.launch(start.options)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	delete(p.started, start.id)
	if err != nil {
		p.room++
		p.startFailed(err)
	} else {
		w := p.born(process, start)
		if !p.crashes.loop {
			p.recovered()
		}
		p.tasks.Go(func() { p.watch(w) })
		p.park(w)
		p.arrange()
	}
	p.publish()
}

// start is a worker that is being started.
type start struct {
	id      string
	options claudecli.Options
	edition int
}

// begin notes that a worker is being started, which starting counts already.
func (p *Pool) begin() start {
	s := start{"worker_" + rand.Text()[:8], p.options.Process, p.edition}
	p.started[s.id] = time.Now()
	return s
}

// born makes a worker of a process that is ready.
func (p *Pool) born(process process, s start) *worker {
	w := &worker{id: s.id, process: process, edition: s.edition, since: time.Now(), lot: 2*mathrand.Float64() - 1}
	p.alive[w] = true
	p.tasks.Add(1)
	return w
}

// recovered forgets why workers couldn't be started.
func (p *Pool) recovered() {
	p.failure, p.failures = nil, 0
	if p.retry != nil {
		p.retry.Stop()
		p.retry = nil
	}
}

// startFailed refuses those whom nobody can serve, and tries again later.
func (p *Pool) startFailed(err error) {
	if p.closed {
		return
	}
	p.options.Logger.Error("start worker", "error", err)
	p.failure = err
	p.refuseHopeless()
	if p.retry == nil {
		backoff := min(minBackoff<<min(p.failures, 10), maxBackoff)
		p.failures++
		p.retry = time.AfterFunc(backoff, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.retry = nil
			p.arrange()
			p.publish()
		})
	}
}

// refuseHopeless refuses the waiters whom nobody can serve.
func (p *Pool) refuseHopeless() {
	for _, waiter := range p.queue.empty(func(class string) bool { return p.refusal(class) != nil }) {
		waiter.grant <- grant{err: p.refusal(waiter.class)}
	}
}

// watch replaces a worker that dies while it is idle. One that dies with a
// request is found out by that.
func (p *Pool) watch(w *worker) {
	<-w.process.Exited()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.kept {
		if other == w {
			p.discard(p.unkeep(i))
			p.arrange()
			p.publish()
			return
		}
	}
	for i, other := range p.idle {
		if other == w {
			p.discard(p.takeIdle(i))
			p.arrange()
			p.publish()
			return
		}
	}
}

// inspect replaces idle workers that are worn, have grown, or stand in the way
// of other projects.
func (p *Pool) inspect() {
	ticker := time.NewTicker(p.options.InspectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-ticker.C:
			p.replaceIdle()
		}
	}
}

func (p *Pool) replaceIdle() {
	grown, room := p.grown(), p.memoryFor()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room = room
	p.expire(grown)
	fresh := false
	for i := len(p.idle) - 1; i >= 0; i-- {
		w := p.idle[i]
		w.grown = grown[w]
		if p.due(w) {
			p.discard(p.takeIdle(i))
			p.arrange() // one at a time: now another one starts
			continue
		}
		fresh = fresh || w.class == ""
	}
	if !fresh && p.starting == 0 && !p.troubled() && len(p.idle) > 0 && time.Since(p.idle[0].idleSince) >= p.options.SpareAfter {
		p.discard(p.takeIdle(0))
	}
	p.shrink()
	p.survived()
	p.arrange()
	p.publish()
}

// grown finds idle workers with too much memory. It reads /proc, so it holds no
// lock meanwhile.
func (p *Pool) grown() map[*worker]bool {
	p.mu.Lock()
	idle := slices.Concat(p.idle, p.kept)
	p.mu.Unlock()
	grown := map[*worker]bool{}
	for _, w := range idle {
		if w.process.ResidentBytes() > p.options.MaxResidentBytes {
			grown[w] = true
		}
	}
	return grown
}
