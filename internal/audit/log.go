package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Defaults of Options.
const (
	// DefaultBuffer is how many events may wait for the store: some seconds of a
	// flood of refused requests.
	DefaultBuffer = 4096
	// DefaultBatch is how many events one transaction takes at most, so that the
	// ledger, which shares the disk, waits milliseconds for it.
	DefaultBatch = 256
)

// ErrClosed is what Close returns beside events that it couldn't store any more.
var ErrClosed = errors.New("the audit log was closed before all of it was stored")

// Options are what a Log needs.
type Options struct {
	Store  Store
	Buffer int              // events that wait at most; 0 is DefaultBuffer
	Batch  int              // events in one transaction at most; 0 is DefaultBatch
	Now    func() time.Time // nil is time.Now
	Logger *slog.Logger     // hears of events that are lost; nil is silent
}

// Log writes events off the path of whoever records them: while one transaction
// is being committed, those that arrive gather for the next one. It is safe for
// concurrent use.
type Log struct {
	store         Store
	buffer, batch int
	now           func() time.Time
	logger        *slog.Logger
	wake          chan struct{} // tells the committer that there is work, or the end

	mu      sync.Mutex // guards the four below, never held over I/O
	queue   []Event
	spare   []Event // the previous queue, to be filled again
	dropped int64   // since the last event that said so
	closed  bool

	stopped chan struct{} // closed when the committer has ended
	abandon context.CancelFunc
	lost    error // of the committer, once stopped is closed
}

// NewLog starts a log. Close must be called.
func NewLog(options Options) *Log {
	ctx, abandon := context.WithCancel(context.Background())
	l := &Log{
		store: options.Store, buffer: options.Buffer, batch: options.Batch, now: options.Now, logger: options.Logger,
		wake: make(chan struct{}, 1), stopped: make(chan struct{}), abandon: abandon,
	}
	if l.buffer <= 0 {
		l.buffer = DefaultBuffer
	}
	if l.batch <= 0 {
		l.batch = DefaultBatch
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	go l.run(ctx)
	return l
}

// Record takes an event to be stored soon; it never waits. An event without a
// time gets the present one. Where events come faster than they are stored, the
// log counts what it drops and says so in an event of its own (see Dropped).
// After Close it does nothing.
func (l *Log) Record(e Event) {
	if e.Time.IsZero() {
		e.Time = l.now()
	}
	e = e.storable()
	l.mu.Lock()
	switch {
	case l.closed:
	case len(l.queue) >= l.buffer:
		l.dropped++
	default:
		l.queue = append(l.queue, e)
	}
	l.mu.Unlock()
	l.signal()
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // a signal is waiting already
	}
}

// Close takes no more events and stores those that wait. When ctx ends first, the
// commit under way is cancelled and Close returns ctx's error at once. An error
// around ErrClosed says that the last events couldn't be stored. It may be called
// more than once.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	select {
	case <-l.stopped:
		return l.lost
	case <-ctx.Done():
		l.abandon()
		return fmt.Errorf("close audit log: %w", ctx.Err())
	}
}

// run is the committer. It ends when the log is closed and all is written.
func (l *Log) run(ctx context.Context) {
	defer close(l.stopped)
	defer l.abandon()
	for range l.wake {
		for {
			events, dropped, closed := l.take()
			if len(events) == 0 && (dropped == 0 || closed) {
				l.giveBack(events)
				if closed {
					return
				}
				break
			}
			err := l.commit(ctx, events)
			l.giveBack(events)
			if err != nil && closed {
				l.lost = fmt.Errorf("%w: %w", ErrClosed, err)
				return
			}
			if err != nil {
				break // what was lost is told with the next event
			}
		}
	}
}

// take gives what waits. How many events were dropped is the first of them.
func (l *Log) take() (events []Event, dropped int64, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, dropped, closed = l.queue, l.dropped, l.closed
	l.queue, l.spare, l.dropped = l.spare[:0], nil, 0
	if dropped > 0 {
		events = append(events, Event{Time: l.now(), Action: Dropped, Detail: fmt.Sprintf("%d events were lost", dropped)})
	}
	return events, dropped, closed
}

// giveBack keeps an emptied queue's memory for the next one.
func (l *Log) giveBack(events []Event) {
	clear(events)
	l.mu.Lock()
	l.spare = events
	l.mu.Unlock()
}

// commit stores the events in pieces. Those of a piece that the store refuses are
// lost, and counted.
func (l *Log) commit(ctx context.Context, events []Event) error {
	var errs []error
	for len(events) > 0 {
		n := min(len(events), l.batch)
		if err := l.store.AppendAudit(ctx, events[:n]); err != nil {
			l.logger.LogAttrs(ctx, slog.LevelError, "audit events are lost", slog.Int("events", n), slog.Any("error", err))
			l.mu.Lock()
			l.dropped += int64(n)
			l.mu.Unlock()
			errs = append(errs, fmt.Errorf("append %d audit events: %w", n, err))
		}
		events = events[n:]
	}
	return errors.Join(errs...)
}
