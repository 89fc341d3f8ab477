package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	// DefaultBuffer is how many events may wait for the store: Refusals lets far
	// fewer through in a minute.
	DefaultBuffer = 1024
	// DefaultBatch is how many events one transaction takes at most, so that the
	// ledger, which shares the disk, waits milliseconds for it.
	DefaultBatch = 256
)

// retryAfter is how long the log waits after a failed commit.
const retryAfter = time.Second

// ErrClosed is what Close returns around the reason why the last events couldn't
// be stored.
var ErrClosed = errors.New("the audit log was closed before all of it was stored")

// Options are what a Log needs.
type Options struct {
	Store  Store
	Buffer int          // events that wait at most; 0 is DefaultBuffer
	Batch  int          // events in one transaction at most; 0 is DefaultBatch
	Logger *slog.Logger // hears of events that can't be stored; nil is silent
}

// Log writes events off the path of whoever records them: while one transaction
// is being committed, those that arrive gather for the next one. What the store
// can't take at the moment is tried again. It is safe for concurrent use.
type Log struct {
	store   Store
	logger  *slog.Logger
	events  chan Event
	batch   []Event // the committer's own
	dropped atomic.Int64

	closeOnce sync.Once
	closing   chan struct{} // closed by the first Close
	stopped   chan struct{} // closed when the committer has ended
	abandon   context.CancelFunc
	lost      error // of the committer, once stopped is closed
}

// NewLog starts a log. Close must be called.
func NewLog(options Options) *Log {
	if options.Buffer <= 0 {
		options.Buffer = DefaultBuffer
	}
	if options.Batch <= 0 {
		options.Batch = DefaultBatch
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, abandon := context.WithCancel(context.Background())
	l := &Log{
		store: options.Store, logger: options.Logger,
		events: make(chan Event, options.Buffer), batch: make([]Event, 0, options.Batch),
		closing: make(chan struct{}), stopped: make(chan struct{}), abandon: abandon,
	}
	go l.run(ctx)
	return l
}

// Record takes an event to be stored soon; it never waits. An event without a
// time gets the present one. Where more events wait than there is room for, the
// log counts what it drops and says so in an event of its own, see Dropped. What
// is recorded while Close runs may be lost, and what comes after it is.
func (l *Log) Record(e Event) {
	select {
	case l.events <- e.storable():
	default:
		l.dropped.Add(1)
	}
}

// Close stores what was recorded before and ends the log. When ctx ends first,
// the commit under way is cancelled and Close returns ctx's error at once; an
// error around ErrClosed says that the store refused the last events. It may be
// called more than once.
func (l *Log) Close(ctx context.Context) error {
	l.closeOnce.Do(func() { close(l.closing) })
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
	for {
		l.gather()
		if len(l.batch) == 0 {
			return // only closing leaves nothing to do
		}
		if err := l.commit(ctx); err != nil {
			l.lost = fmt.Errorf("%w: %w", ErrClosed, err)
			return
		}
	}
}

// gather waits for an event, and fills the batch with those that wait and with
// how many were dropped. It is empty when the log is closed and nothing waits.
func (l *Log) gather() {
	l.batch = l.batch[:0]
	select {
	case e := <-l.events:
		l.batch = append(l.batch, e)
	case <-l.closing:
	}
	if n := l.dropped.Swap(0); n > 0 {
		e := Event{Action: Dropped, Detail: fmt.Sprintf("%d events came faster than they could be stored and are lost", n)}
		l.batch = append(l.batch, e.storable())
	}
	for len(l.batch) < cap(l.batch) {
		select {
		case e := <-l.events:
			l.batch = append(l.batch, e)
		default:
			return
		}
	}
}

// commit stores the batch, however often it has to try. It fails only once the
// log is being closed.
func (l *Log) commit(ctx context.Context) error {
	for {
		err := l.store.AppendAudit(ctx, l.batch)
		if err == nil {
			return nil
		}
		l.logger.LogAttrs(ctx, slog.LevelError, "audit events can't be stored", slog.Int("events", len(l.batch)), slog.Any("error", err))
		select {
		case <-l.closing:
			return fmt.Errorf("append %d of %d audit events: %w", len(l.batch), len(l.batch)+len(l.events), err)
		case <-time.After(retryAfter):
		}
	}
}
