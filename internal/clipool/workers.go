package clipool

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// What a worker's owner does with it.
const (
	resting  int32 = iota // it is idle, held or parked
	bound                 // it is given a request's settings and history
	busy                  // the turn runs
	draining              // it is emptied
)

// State is what a worker does, in the words of docs/architecture.md.
type State string

// The states of a worker.
const (
	StateStarting State = "starting"
	StateIdle     State = "idle"
	StateHeld     State = "held"   // idle, with a conversation that its key may go on with
	StateParked   State = "parked" // it waits for the results of tool calls
	StateBound    State = "bound"
	StateBusy     State = "busy"
	StateDraining State = "draining"
)

// Worker is one worker at one moment.
type Worker struct {
	ID    string // of this process of the service; another one has others
	PID   int    // 0 while it starts
	State State
	Age   time.Duration // since it was ready, or, while it starts, since it was begun
	Turns int           // that it has done; the one that runs isn't counted
	// ResidentBytes is its process's memory, without what that has started; 0 where it
	// can't be told.
	ResidentBytes int64
	ProjectID     string        // whose request it served last; "" for nobody's yet
	Model         string        // of that request
	RequestID     string        // of the request that it serves now
	Idle          time.Duration // for how long it has rested; 0 while it serves
}

// Workers gives all workers, the oldest first. It reads their memory from the operating
// system, without the pool's lock.
func (p *Pool) Workers() []Worker {
	p.mu.Lock()
	now := time.Now()
	workers := make([]Worker, 0, len(p.alive)+len(p.started))
	processes := make([]process, 0, cap(workers))
	for w := range p.alive {
		workers = append(workers, w.at(now))
		processes = append(processes, w.process)
	}
	for id, since := range p.started {
		workers = append(workers, Worker{ID: id, State: StateStarting, Age: now.Sub(since)})
	}
	p.mu.Unlock()
	for i, process := range processes {
		workers[i].ResidentBytes = process.ResidentBytes()
	}
	slices.SortFunc(workers, func(a, b Worker) int { return cmp.Or(cmp.Compare(b.Age, a.Age), cmp.Compare(a.ID, b.ID)) })
	return workers
}

// at describes the worker. The pool's lock must be held.
func (w *worker) at(now time.Time) Worker {
	d := Worker{ID: w.id, PID: w.process.PID(), Age: now.Sub(w.since), Turns: w.turns, ProjectID: w.last.project, Model: w.last.model}
	switch phase := w.phase.Load(); {
	case phase == draining:
		d.State = StateDraining
	case phase == bound, phase == busy:
		d.RequestID = w.last.request
		if d.State = StateBusy; phase == bound {
			d.State = StateBound
		}
	case w.kept.parked():
		d.State, d.Idle = StateParked, now.Sub(w.kept.since)
	case w.kept != nil:
		d.State, d.Idle = StateHeld, now.Sub(w.kept.since)
	default:
		d.State, d.Idle = StateIdle, now.Sub(w.idleSince)
	}
	return d
}

// Limits gives how many workers are kept at least, and how many there are at most.
func (p *Pool) Limits() (least, most int) { return p.options.MinWorkers, p.options.Workers }

// Errors of Kill.
var (
	ErrNoWorker      = errors.New("there is no such worker")
	ErrStillStarting = errors.New("the worker is still being started")
)

// Kill ends a worker, whatever it does, and another one is started where it is missed. A
// request that it serves fares as with any worker that dies: another one serves it where
// nothing of its answer was generated, else it fails.
func (p *Pool) Kill(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, starts := p.started[id]; starts {
		return ErrStillStarting
	}
	for w := range p.alive {
		if w.id == id {
			p.kill(w)
			return nil
		}
	}
	return ErrNoWorker
}

func (p *Pool) kill(w *worker) {
	p.options.Logger.Info("a worker is ended, as asked", "worker", w.id, "pid", w.process.PID(), "state", string(w.at(time.Now()).State))
	w.killed = true
	if i := slices.Index(p.idle, w); i >= 0 {
		p.discard(p.takeIdle(i))
	} else if i := slices.Index(p.kept, w); i >= 0 {
		p.discard(p.unkeep(i))
	} else {
		w.process.Kill() // whoever has it in hand discards it
		return
	}
	p.arrange()
	p.publish()
}
