package archive

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// DefaultSweepEvery is how often Sweep removes what has expired. Documents live
// for days, so the disk hardly notices; and Get doesn't depend on it.
const DefaultSweepEvery = 10 * time.Minute

// Options are what an Archive needs.
type Options struct {
	Store      Store
	SweepEvery time.Duration    // 0 is DefaultSweepEvery
	Now        func() time.Time // nil is time.Now
	Log        *slog.Logger     // hears what Sweep can't do; nil is silent
}

// Archive keeps documents until they expire. A document that one key has put is
// not there for another. It is safe for concurrent use.
type Archive struct {
	store Store
	every time.Duration
	now   func() time.Time
	log   *slog.Logger
}

// New makes an Archive. Without a running Sweep expired documents stay in the
// store, though Get doesn't give them.
func New(options Options) *Archive {
	a := &Archive{store: options.Store, every: options.SweepEvery, now: options.Now, log: options.Log}
	if a.every <= 0 {
		a.every = DefaultSweepEvery
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a
}

// Put keeps body for ttl, in place of the document of the same kind and id that
// the key may have. It returns when the document is durable. body is only read,
// and not after the return. A ttl of 0 or less is an error: nobody could ever
// read the document.
func (a *Archive) Put(ctx context.Context, kind, keyID, id string, ttl time.Duration, body []byte) error {
	if ttl <= 0 {
		return fmt.Errorf("keep %s: it would expire at once (%s)", kind, ttl)
	}
	now := a.now()
	err := a.store.PutDocument(ctx, Document{Kind: kind, ID: id, KeyID: keyID, Created: now, Expires: now.Add(ttl), Body: body})
	if err != nil {
		return fmt.Errorf("keep %s: %w", kind, err)
	}
	return nil
}

// Get gives a document of the key, or ErrNotFound.
func (a *Archive) Get(ctx context.Context, kind, keyID, id string) (Document, error) {
	d, err := a.store.Document(ctx, kind, keyID, id)
	if err == nil && !a.now().Before(d.Expires) {
		err = ErrNotFound
	}
	if err != nil {
		return Document{}, fmt.Errorf("read %s: %w", kind, err)
	}
	return d, nil
}

// List gives the key's documents of a kind, the oldest first.
func (a *Archive) List(ctx context.Context, kind, keyID string) ([]Document, error) {
	all, err := a.store.Documents(ctx, kind, keyID)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kind, err)
	}
	now := a.now()
	return slices.DeleteFunc(all, func(d Document) bool { return !now.Before(d.Expires) }), nil
}

// Delete removes a document of the key, or gives ErrNotFound.
func (a *Archive) Delete(ctx context.Context, kind, keyID, id string) error {
	// Reading first tells whether it has expired: then there is nothing that the
	// caller could delete.
	if _, err := a.Get(ctx, kind, keyID, id); err != nil {
		return err
	}
	if err := a.store.DeleteDocument(ctx, kind, keyID, id); err != nil {
		return fmt.Errorf("delete %s: %w", kind, err)
	}
	return nil
}

// Sweep removes expired documents, at once and then every Options.SweepEvery,
// until ctx ends. What fails is logged and tried again the next time. Run it
// once, in its own goroutine.
func (a *Archive) Sweep(ctx context.Context) {
	ticker := time.NewTicker(a.every)
	defer ticker.Stop()
	for {
		n, err := a.store.DeleteExpired(ctx, a.now())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.LogAttrs(ctx, slog.LevelError, "expired documents can't be removed", slog.Any("error", err))
		case n > 0:
			a.log.LogAttrs(ctx, slog.LevelDebug, "removed expired documents", slog.Int64("documents", n))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
