package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"claude-code-api-service/internal/job"
)

// queueLockWait is how long Client waits for the lock of the queue, which another
// process may hold for a moment to see whether it is free.
const queueLockWait = 50 * time.Millisecond

// Client implements job.Store. One process at a time has the queue, from here until its
// client is stopped. What the last one was running is nobody's then, also if it was
// killed: those jobs' leases end at once.
func (s *Jobs) Client(ctx context.Context, config *river.Config) (job.Client, error) {
	taken, err := lock(ctx, s.path+".queue", queueLockWait)
	if isBusy(err) {
		return nil, job.ErrElsewhere
	}
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(s.driver, config)
	if err == nil {
		_, err = s.db.ExecContext(ctx, `UPDATE jobs SET lease_until = 0 WHERE state = 'running' AND from_queue = 1 AND node <> ?`, config.ID)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take the queue: %w", err), taken.release())
	}
	return &queue{Client: client, lock: taken}, nil
}

func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// queue is a client that gives the lock back.
type queue struct {
	*river.Client[*sql.Tx]
	lock *setupLock
	once sync.Once
}

// Stop implements job.Client.
func (q *queue) Stop(ctx context.Context) (err error) {
	err = q.Client.Stop(ctx)
	q.once.Do(func() { err = errors.Join(err, q.lock.release()) })
	return err
}

// driver is River's, but for how a worker hears of tickets: River's would ask the file twenty
// times a second.
type driver struct {
	*riversqlite.Driver
	bell *bell
}

func newDriver(db *sql.DB) *driver {
	return &driver{riversqlite.New(db), &bell{kinds: make(chan job.Kind, 64)}}
}

// GetListener implements riverdriver.Driver.
func (d *driver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener { return d.bell }

// SupportsListenNotify implements riverdriver.Driver: nothing is to be written for listeners.
func (d *driver) SupportsListenNotify() bool { return false }

// bell tells this process's workers of the tickets that it makes. It is a
// riverdriver.Listener.
type bell struct{ kinds chan job.Kind }

// ring tells of a ticket that is committed. Who doesn't keep up, looks anyway.
func (b *bell) ring(kind job.Kind) {
	select {
	case b.kinds <- kind:
	default:
	}
}

// inserts is the topic under which River's workers hear of new tickets.
const inserts = "river_insert"

// WaitForNotification implements riverdriver.Listener.
func (b *bell) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case kind := <-b.kinds:
		return &riverdriver.Notification{Topic: inserts, Payload: fmt.Sprintf(`{"queue": %q}`, kind)}, nil
	}
}

// The rest of a riverdriver.Listener has nothing to do: there is no connection.

// Close implements riverdriver.Listener.
func (*bell) Close(context.Context) error { return nil }

// Connect implements riverdriver.Listener.
func (*bell) Connect(context.Context) error { return nil }

// Listen implements riverdriver.Listener.
func (*bell) Listen(context.Context, string) error { return nil }

// Ping implements riverdriver.Listener.
func (*bell) Ping(context.Context) error { return nil }

// Schema implements riverdriver.Listener.
func (*bell) Schema() string { return "" }

// SetAfterConnectExec implements riverdriver.Listener.
func (*bell) SetAfterConnectExec(string) {}

// Unlisten implements riverdriver.Listener.
func (*bell) Unlisten(context.Context, string) error { return nil }
