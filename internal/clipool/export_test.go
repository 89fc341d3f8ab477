package clipool

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Account says what is wrong with the pool's books, "" for nothing, once it is at
// rest: every worker is in one place, and the counts are those of the workers.
func (p *Pool) Account() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := slices.Concat(p.idle, p.kept)
	owners := map[string]int{}
	for _, w := range rest {
		switch {
		case !p.alive[w]:
			return "a worker that is gone is still handed out"
		case w.exited():
			return "a worker that has died is still there"
		}
		if w.class != "" {
			owners[w.class]++
		}
	}
	distinct := map[*worker]bool{}
	for _, w := range rest {
		distinct[w] = true
	}
	if len(distinct) != len(rest) || len(rest) != len(p.alive) || len(rest) != p.size || p.starting+len(p.emptying)+p.queue.size+len(p.queue.shares) != 0 {
		return fmt.Sprintf("%d workers idle, %d kept, %d different ones, %d alive, %d starting, %d classes being emptied, %d requests wait, %d keys have a share",
			len(p.idle), len(p.kept), len(distinct), len(p.alive), p.starting, len(p.emptying), p.queue.size, len(p.queue.shares))
	}
	for class, n := range owners {
		if p.owners[class] != n {
			return fmt.Sprintf("%d workers of class %q, counted %d", n, class, p.owners[class])
		}
	}
	if len(owners) != len(p.owners) {
		return fmt.Sprintf("%d classes, counted %d", len(owners), len(p.owners))
	}
	return ""
}

// KillOneAtRest ends the process of a worker that is idle or kept, by chance.
func (p *Pool) KillOneAtRest(random *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rest := slices.Concat(p.idle, p.kept); len(rest) > 0 {
		rest[random.IntN(len(rest))].process.Kill()
	}
}

// Talks makes a key known to have conversations.
func (p *Pool) Talks(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.talks(key)
}

// PIDs are the ids of the workers' processes.
func (p *Pool) PIDs() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pids []int
	for w := range p.alive {
		pids = append(pids, w.process.PID())
	}
	return pids
}
