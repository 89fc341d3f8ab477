package usage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// Defaults of Options.
const (
	// DefaultBatch is how many rows one transaction takes at most: enough that a
	// commit's fixed price vanishes, few enough that it lasts milliseconds.
	DefaultBatch = 512
	// DefaultBacklog is how many rows may wait or be on their way to the store.
	DefaultBacklog = 4096
)

// ErrClosed is what Record returns once Close was called.
var ErrClosed = errors.New("the ledger is closed")

// Options are what a Ledger needs.
type Options struct {
	Store   Store
	Batch   int // rows in one transaction at most; 0 is DefaultBatch
	Backlog int // rows not yet durable at most; 0 is DefaultBacklog
}

// Ledger writes rows with group commit: while one transaction is being
// committed, the rows that arrive gather for the next one. A lone row is
// committed at once, and under load a commit is shared by all that wait. It is
// a gateway.Recorder and safe for concurrent use.
type Ledger struct {
	store Store
	batch int
	room  chan struct{} // one token for each row that isn't durable yet
	wake  chan struct{} // tells the committer that there is work, or the end

	mu     sync.Mutex // guards the three below, never held over I/O
	queue  []*waiter
	spare  []*waiter // the previous queue, to be filled again
	closed bool

	closing   chan struct{} // closed by the first Close
	closeOnce sync.Once
	stopped   chan struct{} // closed when the committer has ended
	abandon   context.CancelFunc
	waiters   sync.Pool
}

// waiter is one Record that waits for its row to be durable.
type waiter struct {
	row     Row
	zone    *time.Location // of the row's project
	charged budget.Amount  // to budgets, beside what the row says
	part    bool           // see gateway.Entry
	done    chan error     // holds one, so that the committer never waits for a caller
}

var _ gateway.Recorder = (*Ledger)(nil)

// NewLedger starts a ledger. Close must be called.
func NewLedger(options Options) *Ledger {
	if options.Batch <= 0 {
		options.Batch = DefaultBatch
	}
	if options.Backlog <= 0 {
		options.Backlog = DefaultBacklog
	}
	ctx, abandon := context.WithCancel(context.Background())
	l := &Ledger{
		store: options.Store, batch: options.Batch,
		room: make(chan struct{}, options.Backlog), wake: make(chan struct{}, 1),
		closing: make(chan struct{}), stopped: make(chan struct{}), abandon: abandon,
	}
	l.waiters.New = func() any { return &waiter{done: make(chan error, 1)} }
	go l.run(ctx)
	return l
}

// Record stores the entry and returns when it is durable. It doesn't end with
// the context: what was spent must be recorded. When the backlog is full it
// waits. An error means that the row isn't stored: ErrClosed, or the store's,
// which all rows of the same transaction get.
func (l *Ledger) Record(_ context.Context, entry gateway.Entry) error {
	select {
	case l.room <- struct{}{}:
	case <-l.closing:
		return ErrClosed
	}
	defer func() { <-l.room }()

	w := l.waiters.Get().(*waiter)
	w.row, w.zone, w.charged, w.part = NewRow(entry), time.UTC, entry.Charged, entry.Part
	if entry.Caller != nil {
		w.zone = entry.Caller.Zone()
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, w)
	l.mu.Unlock()
	l.signal()

	err := <-w.done
	w.row = Row{} // lets go of the request's memory
	l.waiters.Put(w)
	return err
}

func (l *Ledger) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // a signal is waiting already
	}
}

// Close takes no more rows, commits those that are waiting and ends the
// committer. When ctx ends first, the commit under way is cancelled, the rows
// that are left get an error, and Close returns ctx's error at once. It may be
// called more than once and by several goroutines.
func (l *Ledger) Close(ctx context.Context) error {
	l.closeOnce.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.closing)
		l.signal()
	})
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		l.abandon()
		return fmt.Errorf("close ledger: %w", ctx.Err())
	}
}

// run is the committer. It ends when the ledger is closed and all is written.
func (l *Ledger) run(ctx context.Context) {
	defer close(l.stopped)
	defer l.abandon()
	rows := make([]Row, 0, l.batch)
	for range l.wake {
		for {
			l.mu.Lock()
			taken, closed := l.queue, l.closed
			l.queue, l.spare = l.spare[:0], nil
			l.mu.Unlock()

			if len(taken) == 0 {
				l.giveBack(taken)
				if closed {
					return
				}
				break
			}
			for part := taken; len(part) > 0; {
				n := min(len(part), l.batch)
				rows = l.commit(ctx, part[:n], rows)
				part = part[n:]
			}
			l.giveBack(taken)
		}
	}
}

// giveBack keeps an emptied queue's memory for the next one.
func (l *Ledger) giveBack(taken []*waiter) {
	clear(taken)
	l.mu.Lock()
	l.spare = taken
	l.mu.Unlock()
}

func (l *Ledger) commit(ctx context.Context, batch []*waiter, rows []Row) []Row {
	rows = rows[:0]
	for _, w := range batch {
		rows = append(rows, w.row)
	}
	err := l.store.AppendUsage(ctx, rows, sums(batch))
	if err != nil {
		err = fmt.Errorf("append %d usage rows: %w", len(rows), err)
	}
	clear(rows)
	for _, w := range batch {
		w.done <- err
	}
	return rows
}
