package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/archive"
)

// archiveKind is the kind of the documents that are kept. They are the service's
// own.
const archiveKind, archiveKey = "alert", ""

// letter is an event on its way, as it is kept. One that is done is kept too, so
// that a further event of the same Subject is known to be no news.
type letter struct {
	ID       string    `json:"id"` // the document's, made from the event's Type and Subject
	Type     string    `json:"type"`
	Time     time.Time `json:"time"` // the event's
	Forget   time.Time `json:"forget"`
	Body     string    `json:"body"` // what is sent, the same bytes in each attempt
	Attempts int       `json:"attempts"`
	Next     time.Time `json:"next"` // the next attempt
	Done     bool      `json:"done"` // delivered, given up, or nothing is sent at all
}

// undelivered gives the letters that a former Sender has left, and that nobody else
// has.
func (s *Sender) undelivered(ctx context.Context) (pending []*letter, err error) {
	documents, err := s.archive.List(ctx, archiveKind, archiveKey)
	if err != nil {
		return nil, fmt.Errorf("find what the webhook has to deliver: %w", err)
	}
	for _, d := range documents {
		l := &letter{}
		if err := json.Unmarshal(d.Body, l); err != nil {
			s.log.LogAttrs(ctx, slog.LevelError, "a notification is lost: it can't be read", slog.String("id", d.ID), slog.Any("error", err))
			continue
		}
		if !l.Done && !s.has(l.ID) && s.claim(ctx, l.ID, l.Type) {
			if l.Attempts > 0 {
				// Another process may have it too: one of them comes first, and the other
				// looks what became of it.
				l.Next = l.Next.Add(rand.N(firstDelay))
			}
			pending = append(pending, l)
		}
	}
	return pending, nil
}

// payload is what is sent.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

// take writes an event down, unless it is no news. Like keep, it doesn't end with
// ctx.
func (s *Sender) take(ctx context.Context, e Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), archiveTimeout)
	defer cancel()
	sum := sha256.Sum256([]byte(e.Type + "\x00" + e.Subject))
	id := hex.EncodeToString(sum[:16])
	if s.has(id) || s.known(ctx, id, e.Type) || !s.claim(ctx, id, e.Type) {
		return
	}
	// Another node may have told it before it was this one's.
	if s.nodes != nil && s.known(ctx, id, e.Type) {
		s.release(ctx, id)
		return
	}
	if e.News != nil {
		e.News(ctx)
	}
	body, err := json.Marshal(payload{e.Type, e.Time.UTC(), e.Data})
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "an event can't be written down", slog.String("type", e.Type), slog.Any("error", err))
		return
	}
	l := &letter{ID: id, Type: e.Type, Time: e.Time, Forget: e.Forget, Body: string(body), Next: time.Now(), Done: s.receiver == nil}
	if !l.Done {
		s.pending = append(s.pending, l)
	}
	s.keep(ctx, l)
	if l.Done {
		s.release(ctx, id)
	}
}

// has says whether the letter is this Sender's to deliver.
func (s *Sender) has(id string) bool {
	return slices.ContainsFunc(s.pending, func(l *letter) bool { return l.ID == id })
}

// known says whether the event is no news.
func (s *Sender) known(ctx context.Context, id, kind string) bool {
	_, err := s.archive.Get(ctx, archiveKind, archiveKey, id)
	if err != nil && !errors.Is(err, archive.ErrNotFound) {
		s.mayBeTwice(ctx, kind, err)
	}
	return err == nil
}

// claim says whether the event is for this Sender to tell.
func (s *Sender) claim(ctx context.Context, id, kind string) bool {
	if s.nodes == nil {
		return true
	}
	held, _, err := s.nodes.Claim(ctx, archiveKind, archiveKey, id, "")
	if err != nil {
		s.mayBeTwice(ctx, kind, err)
	}
	return held || err != nil
}

// mayBeTwice tells the log of what isn't known. The receiver can tell by the id.
func (s *Sender) mayBeTwice(ctx context.Context, kind string, err error) {
	s.log.LogAttrs(ctx, slog.LevelError, "a notification may be sent twice", slog.String("type", kind), slog.Any("error", err))
}

// release lets others have what is done or not to be told. It doesn't end with ctx.
func (s *Sender) release(ctx context.Context, id string) {
	if s.nodes == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), archiveTimeout)
	defer cancel()
	if err := s.nodes.Release(ctx, archiveKind, archiveKey, id); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "the claim of a notification can't be released yet", slog.Any("error", err))
	}
}

// adopt takes over what nodes have left that died.
func (s *Sender) adopt(ctx context.Context) {
	if s.nodes == nil || s.receiver == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	found, err := s.undelivered(ctx)
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "what other nodes left can't be looked for", slog.Any("error", err))
	}
	s.pending = append(s.pending, found...)
}

// keep writes down what became of a letter. It doesn't end with ctx: the next
// Sender would deliver it again.
func (s *Sender) keep(ctx context.Context, l *letter) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), archiveTimeout)
	defer cancel()
	document, err := json.Marshal(l)
	if err == nil {
		err = s.archive.Put(ctx, archiveKind, archiveKey, l.ID, max(time.Until(l.Forget), time.Minute), document)
	}
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "what became of a notification can't be kept", slog.String("type", l.Type), slog.Any("error", err))
	}
}

// deliver makes one attempt, unless another process on the same database has
// delivered the letter by now.
func (s *Sender) deliver(ctx context.Context, l *letter) {
	if l.Attempts > 0 && s.doneElsewhere(ctx, l) {
		s.drop(ctx, l)
		return
	}
	err := s.receiver.post(ctx, l)
	if err != nil && ctx.Err() != nil {
		return // cut off: no fault of the receiver's
	}
	if err != nil && s.doneElsewhere(ctx, l) {
		s.drop(ctx, l) // while this attempt lasted: nobody may write down that it failed
		return
	}
	l.Attempts++
	l.Next = time.Now().Add(delay(l.Attempts))
	why := []slog.Attr{slog.String("type", l.Type), slog.Int("attempt", l.Attempts), slog.Any("error", err)}
	switch {
	case err == nil:
		l.Done = true
	case l.Next.Sub(l.Time) > giveUpAfter:
		l.Done = true
		s.log.LogAttrs(ctx, slog.LevelError, "a notification couldn't be delivered and is given up", why...)
	default:
		s.log.LogAttrs(ctx, slog.LevelWarn, "a notification couldn't be delivered yet", why...)
	}
	s.keep(ctx, l)
	if l.Done {
		s.drop(ctx, l)
	}
}

func (s *Sender) drop(ctx context.Context, l *letter) {
	s.release(ctx, l.ID)
	s.pending = slices.DeleteFunc(s.pending, func(other *letter) bool { return other == l })
}

// doneElsewhere looks at what is kept; where that can't be read, nobody knows.
func (s *Sender) doneElsewhere(ctx context.Context, l *letter) bool {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	var kept letter
	d, err := s.archive.Get(ctx, archiveKind, archiveKey, l.ID)
	return err == nil && json.Unmarshal(d.Body, &kept) == nil && kept.Done
}

// delay gives the time to wait after so many attempts: twice as long each time,
// and half of it by chance, so that many services don't come at once.
func delay(attempts int) time.Duration {
	d := maxDelay
	if attempts < 13 {
		d = min(firstDelay<<(attempts-1), maxDelay)
	}
	return d/2 + rand.N(d/2)
}
