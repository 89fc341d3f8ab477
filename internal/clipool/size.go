package clipool

import "time"

// How many workers there are: at least MinWorkers, more while requests wait, as
// far as Workers and the machine's memory go. Everything here but memoryFor needs
// the pool's lock.

const (
	// memoryReserve stays free for the rest of the machine, in bytes.
	memoryReserve = 256 << 20
	// firstWorkerBytes stands for a worker's memory before there is one: about what a
	// parked process of 2.1.331 takes.
	firstWorkerBytes = 300 << 20
	// plenty is room for more workers than there can be.
	plenty = 1 << 20
)

// full says that no worker can be added to those that there are.
func (p *Pool) full() bool {
	n := len(p.alive) + p.starting
	return n >= p.options.Workers || n > 0 && p.room <= 0
}

// another says that one more worker is to be started now. The pool grows when
// more requests wait than workers will be free soon.
func (p *Pool) another() bool {
	n := len(p.alive) + p.starting
	switch {
	case p.full() || p.crashes.loop && p.onTrial():
		return false
	case n >= p.size && p.queue.size > p.soon():
		p.size = n + 1
	}
	return n < p.size
}

// soon is how many workers will be free in a moment.
func (p *Pool) soon() int {
	soon := p.starting
	for _, n := range p.emptying {
		soon += n
	}
	if p.pinged != nil {
		soon++
	}
	return soon
}

// shrink does without the worker that has idled for long, one at a time.
func (p *Pool) shrink() {
	if p.size > p.options.MinWorkers && p.queue.size == 0 && len(p.idle) > 0 && time.Since(p.idle[0].idleSince) >= p.options.ShrinkAfter {
		p.size--
		if len(p.alive)+p.starting > p.size {
			p.discard(p.takeIdle(0))
		}
	}
}

// memoryFor says for how many more workers there is memory. It reads files, so it
// is called without the lock.
func (p *Pool) memoryFor() int {
	free, known := p.options.Memory()
	if !known {
		return plenty
	}
	p.mu.Lock()
	workers := make([]*worker, 0, len(p.alive))
	for w := range p.alive {
		workers = append(workers, w)
	}
	p.mu.Unlock()
	var each int64
	for _, w := range workers {
		each = max(each, w.process.ResidentBytes())
	}
	if each == 0 {
		each = firstWorkerBytes
	}
	return int(min(max(0, (free-memoryReserve)/each), plenty))
}
