package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// The listening connection's times.
const (
	// quiet is how long nothing may come before the connection is asked whether it
	// still lives.
	quiet = 5 * time.Second
	// firstPause and lastPause are those between attempts to connect; they double.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Notify tells every node's subscribers of a channel, this node's too. Equal payloads
// that wait may come as one. A payload has less than 8000 bytes.
func (db *DB) Notify(ctx context.Context, channel, payload string) error {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	if _, err := db.walk.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload); err != nil {
		return db.failed(ctx, "notify", err)
	}
	return nil
}

// Subscribe has fn called with the payload of whatever is told on a channel, and with
// "" each time that the database is listened to anew, the first time too, for what was
// told in between is lost and fn has to look; and when the connection is lost, for
// then the others may be too. The calls come one after the other
// from one goroutine for all channels, so fn must not wait for anything. Once stop has
// returned, fn isn't called any more; fn itself must not call stop.
//
// All of it goes over one connection beside the others, which the first call makes and
// Close ends.
func (db *DB) Subscribe(channel string, fn func(payload string)) (stop func()) {
	return db.listener.subscribe(channel, fn)
}

// listener has the listening connection.
type listener struct {
	config *pgx.ConnConfig

	mu          sync.Mutex // guards what follows
	subscribers []*subscriber
	wake        context.CancelFunc // ends the wait for a notification; nil: none runs
	end         context.CancelFunc // ends the goroutine; nil: there is none yet
	closed      bool
	done        sync.WaitGroup
}

type subscriber struct {
	channel string
	greeted bool // on this connection; the goroutine's own

	mu sync.Mutex // held while fn runs
	fn func(payload string)
}

func (s *subscriber) tell(payload string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fn != nil {
		s.fn(payload)
	}
}

// newListener takes the settings of the other connections, but leaves a connection
// whole whose wait was ended.
func newListener(config *pgx.ConnConfig) *listener {
	config = config.Copy()
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: conn.Conn()}
	}
	return &listener{config: config}
}

func (l *listener) subscribe(channel string, fn func(payload string)) (stop func()) {
	s := &subscriber{channel: channel, fn: fn}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return func() {}
	}
	l.subscribers = append(l.subscribers, s)
	if l.wake != nil {
		l.wake()
	}
	if l.end == nil {
		var ctx context.Context
		ctx, l.end = context.WithCancel(context.Background())
		l.done.Go(func() { l.run(ctx) })
	}
	return func() { l.remove(s) }
}

func (l *listener) remove(s *subscriber) {
	s.mu.Lock()
	s.fn = nil
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range l.subscribers {
		if other == s {
			l.subscribers = append(l.subscribers[:i:i], l.subscribers[i+1:]...)
			return
		}
	}
}

func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	end := l.end
	l.mu.Unlock()
	if end != nil {
		end()
		l.done.Wait()
	}
}

// run connects again and again. That it can't be is told by those who use the other
// connections.
func (l *listener) run(ctx context.Context) {
	pause := firstPause
	for {
		if l.hear(ctx) {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// hear listens over one connection for as long as it lives, and says whether there
// was one.
func (l *listener) hear(ctx context.Context) bool {
	conn, err := pgx.ConnectConfig(ctx, l.config)
	if err != nil {
		return false
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
		defer cancel()
		_ = conn.Close(ctx) // it may be broken
	}()
	for _, s := range l.all() {
		s.greeted = false
	}
	listening := map[string]bool{}
	for {
		err := l.greet(ctx, conn, listening)
		var told *pgconn.Notification
		if err == nil {
			told, err = l.next(ctx, conn)
		}
		for _, s := range l.all() {
			switch {
			case !s.greeted || ctx.Err() != nil:
			case err != nil:
				s.tell("")
			case told != nil && told.Channel == s.channel:
				s.tell(told.Payload)
			}
		}
		if err != nil {
			return true
		}
	}
}

func (l *listener) all() []*subscriber {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*subscriber(nil), l.subscribers...)
}

// greet begins to listen to the channels of those who are new to this connection.
func (l *listener) greet(ctx context.Context, conn *pgx.Conn, listening map[string]bool) error {
	for _, s := range l.all() {
		if s.greeted {
			continue
		}
		if !listening[s.channel] {
			if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
				return err
			}
			listening[s.channel] = true
		}
		s.greeted = true
		s.tell("")
	}
	return nil
}

// next waits for a notification; nil: somebody new wants to listen, or the connection
// was quiet and lives.
func (l *listener) next(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	wait, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	l.mu.Lock()
	for _, s := range l.subscribers {
		if !s.greeted {
			l.mu.Unlock()
			return nil, nil
		}
	}
	l.wake = cancel
	l.mu.Unlock()
	told, err := conn.WaitForNotification(wait)
	l.mu.Lock()
	l.wake = nil
	l.mu.Unlock()
	switch {
	case err == nil:
		return told, nil
	case wait.Err() == nil || ctx.Err() != nil:
		return nil, err
	}
	ask, stop := context.WithTimeout(ctx, pingTimeout)
	defer stop()
	return nil, conn.Ping(ask)
}
