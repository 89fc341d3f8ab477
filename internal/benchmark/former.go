package benchmark

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// What the replaced service did between a request and its answer, beside the process
// that it started for it. Its source is public; the waits and statements below are
// its own, and the figures of its analysis are quoted in sources.go.

// The waits of its loops.
const (
	formerQueueWait  = 500 * time.Millisecond // until it looked whether a process had ended
	formerLoopPause  = 100 * time.Millisecond // between two looks
	formerResultWait = 100 * time.Millisecond // between two looks of the handler for the result
)

// formerLoop starts what is asked for and finds out that it has ended, as the
// replaced service's monitor did: one loop that waits for new work, looks and
// sleeps.
type formerLoop struct {
	queue chan *formerTask
	done  chan struct{}
	ended sync.WaitGroup
}

type formerTask struct {
	run   func() error
	ended chan error // the process's end, seen by whoever looks

	mu     sync.Mutex
	result error
	known  bool
}

func newFormerLoop() *formerLoop {
	l := &formerLoop{queue: make(chan *formerTask), done: make(chan struct{})}
	l.ended.Go(l.monitor)
	return l
}

func (l *formerLoop) close() {
	close(l.done)
	l.ended.Wait()
}

func (l *formerLoop) monitor() {
	var running []*formerTask
	for {
		var still []*formerTask
		for _, t := range running {
			select {
			case err := <-t.ended:
				t.mu.Lock()
				t.result, t.known = err, true
				t.mu.Unlock()
			default:
				still = append(still, t)
			}
		}
		running = still
		select {
		case t := <-l.queue:
			go func() { t.ended <- t.run() }()
			running = append(running, t)
		case <-time.After(formerQueueWait):
		case <-l.done:
			return
		}
		time.Sleep(formerLoopPause)
	}
}

// do has the loop run something, and waits for the result as the handler did.
func (l *formerLoop) do(ctx context.Context, run func() error) error {
	t := &formerTask{run: run, ended: make(chan error, 1)}
	select {
	case l.queue <- t:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		t.mu.Lock()
		known, err := t.known, t.result
		t.mu.Unlock()
		if known {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(formerResultWait):
		}
	}
}

// formerDatabase is a database that is opened anew for every question, with SQLite's
// own settings: a rollback journal, and the disk waited for at each commit.
type formerDatabase struct {
	path    string
	request int
}

func newFormerDatabase(ctx context.Context, folder string) (*formerDatabase, error) {
	d := &formerDatabase{path: filepath.Join(folder, "former.db")}
	return d, d.connect(ctx, func(tx *sql.Tx) error {
		for _, statement := range []string{
			"CREATE TABLE api_keys (key TEXT PRIMARY KEY, project_id TEXT, rate_limit INTEGER, last_used_at TEXT)",
			"CREATE TABLE rate_limits (api_key TEXT, window_start TEXT, request_count INTEGER, PRIMARY KEY (api_key, window_start))",
			"CREATE TABLE usage_log (id INTEGER PRIMARY KEY, project_id TEXT, tokens INTEGER, cost REAL, at TEXT)",
			"INSERT INTO api_keys VALUES ('key', 'project', 100, '')",
			"INSERT INTO rate_limits VALUES ('key', 'now', 0)",
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// connect opens the file, does something, commits and closes the file.
func (d *formerDatabase) connect(ctx context.Context, do func(tx *sql.Tx) error) (err error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(d.path)}).String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// walk asks and writes what one request did: the key; its rate, counted and written;
// its budget; and, with the answer, what it used.
func (d *formerDatabase) walk(ctx context.Context) (time.Duration, error) {
	d.request++
	read := func(query string) func(tx *sql.Tx) error {
		return func(tx *sql.Tx) error {
			var value any
			return tx.QueryRowContext(ctx, query).Scan(&value)
		}
	}
	write := func(statements ...string) func(tx *sql.Tx) error {
		return func(tx *sql.Tx) error {
			for _, statement := range statements {
				if _, err := tx.ExecContext(ctx, statement, d.request); err != nil {
					return err
				}
			}
			return nil
		}
	}
	started := time.Now()
	for _, do := range []func(tx *sql.Tx) error{
		read("SELECT project_id FROM api_keys WHERE key = 'key'"),
		write(
			"UPDATE rate_limits SET request_count = ?1 WHERE api_key = 'key' AND window_start = 'now'",
			"UPDATE api_keys SET last_used_at = ?1 WHERE key = 'key'",
		),
		read("SELECT total(tokens) FROM usage_log WHERE project_id = 'project'"),
		write("INSERT INTO usage_log (project_id, tokens, cost, at) VALUES ('project', ?1, 0.1, 'now')"),
	} {
		if err := d.connect(ctx, do); err != nil {
			return 0, fmt.Errorf("use a database as the former service did: %w", err)
		}
	}
	return time.Since(started), nil
}

// formerPrompt writes a prompt to a file in a folder of its own and removes both.
func formerPrompt(folder, prompt string) (time.Duration, error) {
	started := time.Now()
	own, err := os.MkdirTemp(folder, "claude_task_")
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(own, "prompt.txt"), []byte(prompt), 0o600); err != nil {
		return 0, errors.Join(err, os.RemoveAll(own))
	}
	if err := os.RemoveAll(own); err != nil {
		return 0, err
	}
	return time.Since(started), nil
}
