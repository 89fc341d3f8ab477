// Package idempotency has a request that carries an Idempotency-Key served once:
// whoever sends it again gets the answer of the first time. Why it is as it is:
// docs/adr/0015-idempotency.md.
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

const (
	// TTL is how long an answer can be asked for again: as long as Stripe keeps
	// them at least (docs.stripe.com/api/idempotent_requests).
	TTL = 24 * time.Hour
	// kind is what the archive calls these documents.
	kind = "idempotency"
	// aloneTimeout is how long a request may go on after its caller has left: as
	// long as one may run whose caller never waits.
	aloneTimeout = 30 * time.Minute
	// keepTimeout bounds the keeping of an answer whose caller waits for its end.
	keepTimeout = 10 * time.Second
)

// Archive keeps answers: an archive.Archive.
type Archive interface {
	Put(ctx context.Context, kind, keyID, id string, ttl time.Duration, body []byte) error
	// Get gives a document of the key, or archive.ErrNotFound.
	Get(ctx context.Context, kind, keyID, id string) (archive.Document, error)
}

// Options are what a Keeper needs.
type Options struct {
	Archive Archive
	// Nodes keeps other nodes from serving a request that runs here; nil: there are
	// none.
	Nodes Nodes
	// MaxBody is the largest request body in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	Log     *slog.Logger // nil: silent
}

// Keeper serves requests once. It is safe for concurrent use. Stop must be called.
type Keeper struct {
	archive Archive
	nodes   Nodes
	maxBody atomic.Int64
	log     *slog.Logger
	claims  claims
	// allowances are of the owners of large answers.
	allowances allowances
	// replayed counts answers that were given again.
	replayed atomic.Int64
}

var _ protocol.Once = (*Keeper)(nil)

// New makes a Keeper.
func New(options Options) *Keeper {
	k := &Keeper{archive: options.Archive, nodes: options.Nodes, log: options.Log, claims: newClaims()}
	k.SetMaxBody(options.MaxBody)
	return k
}

// SetMaxBody changes the largest request body, in bytes, for requests that come from
// now on; 0 means protocol.DefaultBodyLimit.
func (k *Keeper) SetMaxBody(limit int64) { k.maxBody.Store(limit) }

// Stop takes no more requests and waits until those that run have ended, also those
// whose callers have left. When ctx ends first, they are cancelled, and Stop returns
// ctx's error. It may be called more than once.
func (k *Keeper) Stop(ctx context.Context) error { return k.claims.stop(ctx) }

// Replayed is how many answers were given again since the Keeper was made.
func (k *Keeper) Replayed() int64 { return k.replayed.Load() }

// Serve implements protocol.Once.
func (k *Keeper) Serve(w http.ResponseWriter, r *http.Request, call *gateway.Call, serve protocol.HandlerFunc, write protocol.ErrorWriter) error {
	key, err := readKey(r.Header)
	if err != nil {
		return err
	}
	body, err := protocol.ReadBody(w, r, k.maxBody.Load())
	if err != nil {
		return err
	}
	once := &request{keeper: k, call: call, name: name{call.Caller.KeyID, sha256.Sum256([]byte(key))}, sum: fingerprintOf(r, body)}
	if err := k.claims.check(once.name, once.sum); err != nil {
		return err
	}
	if found, err := once.replay(w, r); found || err != nil {
		return err
	}
	// The request goes on when its caller leaves, for the sake of the next one that
	// asks.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(nil)
	if err := k.claims.begin(once.name, once.sum, cancel); err != nil {
		return err
	}
	once.done = sync.OnceFunc(func() { once.release(ctx); k.claims.end(once.name) })
	defer once.done()
	if err := once.claim(ctx); err != nil {
		return err
	}
	// The one that had the key before may have come to its end in the meantime.
	if found, err := once.replay(w, r); found || err != nil {
		return err
	}
	call.Once = once.id() + hex.EncodeToString(once.sum[:])
	unlink := context.AfterFunc(r.Context(), func() { alone(r.Context(), ctx, cancel) })
	defer unlink()
	return once.serve(w, protocol.WithBody(ctx, r, body), serve, write)
}

// alone ends a request whose caller has left, when it takes too long, or when the
// caller has left because the service stops or the request's time is over.
func alone(caller, ctx context.Context, cancel context.CancelCauseFunc) {
	var stops *apierror.Error
	if errors.As(context.Cause(caller), &stops) {
		cancel(errStopped)
		return
	}
	if errors.Is(caller.Err(), context.DeadlineExceeded) { // nobody has left: its time is over
		cancel(apierror.New(apierror.Timeout, "the request took longer than allowed"))
		return
	}
	timer := time.NewTimer(aloneTimeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		cancel(apierror.New(apierror.Timeout, "the caller left, and the request took longer than allowed"))
	}
}

// request is one that carries a key.
type request struct {
	keeper *Keeper
	call   *gateway.Call
	name   name
	sum    fingerprint
	done   func() // lets others have the name
}

// id is what the archive calls the answer. The key itself is in no file: it may be
// anything that a client thought of.
func (q *request) id() string { return hex.EncodeToString(q.name.key[:]) }

// replay answers from the archive, and says whether it did. An error is an
// apierror.Error; nothing is written then.
func (q *request) replay(w http.ResponseWriter, r *http.Request) (found bool, err error) {
	document, err := q.keeper.archive.Get(r.Context(), kind, q.name.owner, q.id())
	if errors.Is(err, archive.ErrNotFound) {
		return false, nil
	}
	var kept record
	var body []byte
	if err == nil {
		kept, body, err = decode(document.Body)
	}
	if err != nil {
		if r.Context().Err() != nil {
			return false, apierror.Wrap(apierror.ClientClosed, "the caller left", err)
		}
		// Whether it was served before isn't known: it must not be served now.
		return false, &apierror.Error{
			Category: apierror.Overloaded, Message: "kept answers can't be read at the moment, so a request with an Idempotency-Key can't be served",
			RetryAfter: time.Second, Cause: err,
		}
	}
	if err := kept.answer(w, q.sum, body); err != nil {
		return true, err
	}
	q.keeper.replayed.Add(1)
	return true, nil
}

// serve serves the request and keeps its answer.
func (q *request) serve(w http.ResponseWriter, r *http.Request, serve protocol.HandlerFunc, write protocol.ErrorWriter) error {
	ctx := r.Context()
	before := w.Header().Clone()
	var refused error
	out := newWriter(w, func(out *writer) error {
		failed := refused != nil || q.call.Failed()
		if !q.keeps(ctx, failed) {
			return nil
		}
		err := q.keep(ctx, out)
		if failed {
			// The failure itself is what the caller must hear of.
			out.lost, err = err, nil
		}
		return err
	})
	if refused = serve(out, r, q.call); refused != nil {
		if !q.keeps(ctx, true) {
			return refused
		}
		out.Header().Set(protocol.HeaderShouldRetry, "false") // it would be the same again
		write(out, r, q.call, refused)
	}
	out.WriteHeader(http.StatusOK) // where the handler wrote nothing
	err := out.Complete()
	if out.lost != nil {
		protocol.Log(ctx, q.keeper.log, q.call.RequestID, out.lost)
	}
	if err != nil { // nothing has left
		clear(w.Header())
		for name, values := range before {
			w.Header()[name] = values
		}
		w.Header().Set(protocol.HeaderShouldRetry, "false") // each try would cost as much, and may be lost as well
		return err
	}
	// Whoever has read the answer may ask for it again at once.
	q.done()
	return out.FlushError()
}

// keeps says whether what became of the request is kept: what it was answered, and
// a failure that has cost something. What has cost nothing may be tried again; and
// what was cut off by the end of the service is lost, as it is with the process.
func (q *request) keeps(ctx context.Context, failed bool) bool {
	stopped := errors.Is(context.Cause(ctx), errStopped)
	if failed {
		return q.call.Paid() && !stopped
	}
	return q.call.Paid() || !stopped
}

// keep returns when the answer is durable.
func (q *request) keep(ctx context.Context, out *writer) error {
	kept := record{Fingerprint: hex.EncodeToString(q.sum[:])}
	var body []byte
	if out.large || !q.keeper.allowances.take(q.name.owner, len(out.body)) {
		kept.TooLarge = true
	} else {
		kept.Status, kept.Header, body = out.status, out.kept, out.body
	}
	document, err := kept.encode(body)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
		defer cancel()
		err = q.keeper.archive.Put(ctx, kind, q.name.owner, q.id(), TTL, document)
	}
	if err != nil {
		return apierror.Wrap(apierror.Internal, "the answer couldn't be kept for its Idempotency-Key", err)
	}
	return nil
}
