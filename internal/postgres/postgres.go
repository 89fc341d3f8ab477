// Package postgres keeps accounts, the ledger, documents and the audit log in a
// PostgreSQL database, which several nodes of the service share.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/usage"
)

// Connections of one node at most (docs/adr/0013): what a request waits for never
// stands behind a report or a large document.
const (
	walkConnections = 4
	restConnections = 4
)

// Times that a node waits for its database.
const (
	// connectTimeout bounds the making of a connection to one host, unless the URL
	// says otherwise.
	connectTimeout = 5 * time.Second
	// walkTimeout bounds each statement that a request waits for, a connection for
	// it included. They take a millisecond; a network that swallows everything
	// must not hold requests for the minutes that TCP tries.
	walkTimeout = 10 * time.Second
	// cancelTimeout is how long a statement whose context has ended may take to
	// end at the server; then its connection is closed.
	cancelTimeout = 200 * time.Millisecond
	// pingTimeout bounds the question to a connection that was idle for a second,
	// whether it still lives.
	pingTimeout = 2 * time.Second
)

// Options say how a database is opened.
type Options struct {
	// URL names the server and the database: postgres://user:password@host/database.
	// It is in no error and in no log.
	URL string
}

// DB is an open database. It is an apikey.Store, a usage.Store, an archive.Store,
// an audit.Store and a cluster.Store, and safe for concurrent use. Connections that break are made
// again; a statement that was under way then fails, and may have been done.
type DB struct {
	// walk is for what a request waits for, in statements of a millisecond; rest
	// is for everything else.
	walk, rest *pgxpool.Pool
	listener   *listener
	// node gives under which id this node has leases; nil: it shares nothing.
	node      func() string
	closeOnce sync.Once
}

var (
	_ usage.Store   = (*DB)(nil)
	_ archive.Store = (*DB)(nil)
	_ audit.Store   = (*DB)(nil)
)

// Open connects to the database and brings it to this program's schema. Nodes
// that open it at once wait for each other. A database that a newer program has
// changed is refused. ctx ends the opening only.
func Open(ctx context.Context, options Options) (*DB, error) {
	db, err := open(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", discreet(err, options.URL))
	}
	return db, nil
}

func open(ctx context.Context, options Options) (*DB, error) {
	db := &DB{}
	var err error
	if db.walk, err = pool(options.URL, walkConnections); err == nil {
		db.rest, err = pool(options.URL, restConnections)
	}
	if err == nil {
		db.listener = newListener(db.walk.Config().ConnConfig)
		err = db.check(ctx)
	}
	if err == nil {
		err = migrate(ctx, db.rest)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// check refuses a database in which not every text has a place.
func (db *DB) check(ctx context.Context) error {
	var encoding string
	if err := db.rest.QueryRow(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return fmt.Errorf("connect: %w", answerFirst(err))
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s: make one with ENCODING 'UTF8'", encoding)
	}
	return nil
}

// answerFirst puts what the server has answered in front of the driver's list of all
// that it has tried, such as a connection with TLS before one without.
func answerFirst(err error) error {
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		return err
	}
	return fmt.Errorf("%s (SQLSTATE %s): %w", told.Message, told.Code, err)
}

// pool makes connections when they are needed.
func pool(address string, connections int32) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		// The error begins with the URL, in which it masks what it takes for the
		// password; what is wrong stands behind it.
		text := err.Error()
		if at := strings.LastIndex(text, "`: "); at >= 0 {
			text = text[at+len("`: "):]
		}
		return nil, fmt.Errorf("read the database's URL: %s", text)
	}
	config.MaxConns = connections
	config.PingTimeout = pingTimeout
	config.AfterConnect = settle
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
		c.DialFunc = (&net.Dialer{Timeout: connectTimeout}).DialContext
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "claude-api"
	}
	// A query whose caller has left ends at the server too.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelTimeout}
	}
	return pgxpool.NewWithConfig(context.Background(), config)
}

// settle gives a new connection what the statements of this package rely on,
// whatever the server's configuration says: each statement sees what was
// committed before it, and a commit is durable.
func settle(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('default_transaction_isolation', 'read committed', false),
		CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`)
	return err
}

// Close ends all connections; it waits for the statements that run. It may be
// called more than once. Whoever uses the database afterwards gets an error.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		if db.listener != nil {
			db.listener.close()
		}
		for _, pool := range []*pgxpool.Pool{db.walk, db.rest} {
			if pool != nil {
				pool.Close()
			}
		}
	})
	return nil
}

// Ping says whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.walk.Ping(ctx); err != nil {
		return db.failed(ctx, "ping database", err)
	}
	return nil
}

// failed says what failed. A statement that was cancelled at the server, because
// its context has ended, is told apart by errors.Is. When a connection broke, the
// others that wait for work are likely to be broken too, and are made anew: the
// database's return costs one failure and not one for each of them.
func (db *DB) failed(ctx context.Context, what string, err error) error {
	if ended := ctx.Err(); ended != nil {
		if !errors.Is(err, ended) {
			err = fmt.Errorf("%w: %w", ended, err)
		}
	} else if broken(err) {
		db.walk.Reset()
		db.rest.Reset()
	}
	return fmt.Errorf("%s: %w", what, err)
}

// broken says that an error is the connection's, or that the server is going down.
func broken(err error) bool {
	const serverGoes = "57P" // PostgreSQL's documentation, appendix A
	var told *pgconn.PgError
	if errors.As(err, &told) {
		return strings.HasPrefix(told.Code, serverGoes)
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// discreet keeps the URL out of an error, whoever wrote it. The driver's errors
// name user, host and database, never the password alone; a password may be a word
// that any of them has.
func discreet(err error, address string) error {
	secrets := []string{address}
	if u, parseErr := url.Parse(address); parseErr == nil && u.User != nil {
		if password, set := u.User.Password(); set {
			secrets = append(secrets, u.User.String(), u.User.Username()+":"+password)
		}
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(err.Error(), secret) {
			return errors.New("the database's URL is refused, with an error that repeats it")
		}
	}
	return err
}

// storable says whether PostgreSQL can hold a text. What it can't hold, it hasn't.
func storable(texts ...string) bool {
	for _, text := range texts {
		if strings.ToValidUTF8(text, "") != text || strings.IndexByte(text, 0) >= 0 {
			return false
		}
	}
	return true
}

// column takes one field of each item, as PostgreSQL's unnest wants them.
func column[I, V any](items []I, get func(*I) V) []V {
	values := make([]V, len(items))
	for i := range items {
		values[i] = get(&items[i])
	}
	return values
}
