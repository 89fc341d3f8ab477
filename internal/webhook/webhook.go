// Package webhook tells another service over HTTP what has happened in this one:
// signed as the Standard Webhooks specification asks (standardwebhooks.com),
// repeated until it is taken, and once for each thing that happened, also when
// the service was started again in between. What its receiver must know is in
// docs/webhook.md.
package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"claude-code-api-service/internal/archive"
)

const (
	// maxWaiting is how many events may wait to be written down, while an attempt to
	// deliver one lasts.
	maxWaiting = 1024
	// attemptTimeout bounds one delivery, the answer included.
	attemptTimeout = 10 * time.Second
	// archiveTimeout bounds reading and writing what is known of one event.
	archiveTimeout = 5 * time.Second
	// firstDelay and maxDelay bound the time between two attempts, which doubles.
	firstDelay, maxDelay = time.Second, time.Hour
	// giveUpAfter is how long after an event its last attempt may be.
	giveUpAfter = 24 * time.Hour
	// adoptEvery is how often a node looks for what others, which have died, left
	// undelivered.
	adoptEvery = 5 * time.Minute
)

// Nodes are those that share the archive: a cluster.Member.
type Nodes interface {
	// Claim takes an event for this node, until Release or the node's death; not when
	// another node has it.
	Claim(ctx context.Context, kind, keyID, id, note string) (held bool, others string, err error)
	Release(ctx context.Context, kind, keyID, id string) error
}

// Event is something that happened.
type Event struct {
	Type string // what: budget.soft_limit_crossed
	// Subject names, together with Type, what happened. Of two events that have both
	// in common the second one is no news.
	Subject string
	Time    time.Time
	Forget  time.Time // when a further event of this Subject is news again
	Data    any       // for the receiver, as JSON
	// News, unless it is nil, is called when the event turns out to be news, before
	// that is written down: once, or again after a crash in between. It may do I/O.
	News func(ctx context.Context)
}

// Options configure a Sender.
type Options struct {
	// URL is the receiver's: https, or http to this machine. "": nothing is sent, and
	// the Sender only tells what is news.
	URL string
	// Secret signs what is sent: "whsec_" and 24 to 64 bytes in base64.
	Secret  string
	Archive *archive.Archive // keeps events until they are delivered or forgotten
	Nodes   Nodes            // keeps other nodes from telling the same; nil: there are none
	Client  *http.Client     // without its redirects and timeout; nil is one of the Sender's own
	Logger  *slog.Logger     // hears what can't be delivered; nil is silent
}

// Sender delivers events, one after another. It is safe for concurrent use.
type Sender struct {
	receiver *receiver    // nil: nothing is sent; the goroutine's own
	client   *http.Client // Options.Client
	archive  *archive.Archive
	nodes    Nodes
	log      *slog.Logger
	events   chan Event
	aims     chan *receiver
	pending  []*letter // the goroutine's own

	closeOnce sync.Once
	closing   chan struct{} // closed by the first Close
	stopped   chan struct{} // closed when the goroutine has ended
	abandon   context.CancelFunc
}

// New makes a Sender, which goes on with what was not delivered before. It
// refuses a URL or a secret that can't be used, without naming either. Close must
// be called.
func New(ctx context.Context, options Options) (*Sender, error) {
	s := &Sender{
		client: options.Client, archive: options.Archive, nodes: options.Nodes, log: options.Logger, events: make(chan Event, maxWaiting), aims: make(chan *receiver, 1),
		closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if options.URL != "" {
		var err error
		if s.receiver, err = newReceiver(options); err != nil {
			return nil, err
		}
		if s.pending, err = s.undelivered(ctx); err != nil {
			return nil, err
		}
	}
	life, abandon := context.WithCancel(context.Background())
	s.abandon = abandon
	go s.run(life)
	return s, nil
}

// Notify takes an event to be delivered soon, if it is news. It never waits.
// What comes during Close, or later, may be lost.
func (s *Sender) Notify(e Event) {
	select {
	case s.events <- e:
	default:
		s.log.LogAttrs(context.Background(), slog.LevelError, "an event is lost: too many wait", slog.String("type", e.Type), slog.String("subject", e.Subject))
	}
}

// Close tries once to deliver what wasn't tried yet, and ends the Sender. When
// ctx ends first, the attempt under way is cut off, and Close returns ctx's error
// soon. What isn't delivered is delivered by the next Sender. Close may be called
// more than once.
func (s *Sender) Close(ctx context.Context) error {
	s.closeOnce.Do(func() { close(s.closing) })
	var err error
	select {
	case <-s.stopped:
	case <-ctx.Done():
		err = fmt.Errorf("close webhook: %w", ctx.Err())
		s.abandon()
		<-s.stopped
	}
	return err
}

// Aim makes another URL and secret hold from now on, also for what the former
// receiver hasn't taken; an attempt that is under way goes on. It refuses what New
// refuses, and then nothing changes.
func (s *Sender) Aim(url, secret string) error {
	var r *receiver
	if url != "" {
		var err error
		if r, err = newReceiver(Options{URL: url, Secret: secret, Client: s.client}); err != nil {
			return err
		}
	}
	for {
		select {
		case s.aims <- r:
			return nil
		case <-s.aims: // one that nobody has taken yet
		}
	}
}

// aimAt is the goroutine's part of Aim.
func (s *Sender) aimAt(r *receiver) {
	if s.receiver != nil {
		s.receiver.client.CloseIdleConnections()
	}
	s.receiver = r
}

// run is the goroutine that writes events down and delivers them.
func (s *Sender) run(ctx context.Context) {
	defer close(s.stopped)
	defer s.abandon()
	defer func() { s.aimAt(nil) }()
	adopt := time.NewTicker(adoptEvery)
	defer adopt.Stop()
	for {
		s.takeAll(ctx)
		closing := false
		select {
		case <-s.closing:
			closing = true
		default:
		}
		next := s.next(closing)
		wait := time.Duration(1<<63 - 1)
		if next != nil {
			wait = time.Until(next.Next)
		}
		switch {
		case ctx.Err() != nil, closing && next == nil:
			return
		case wait <= 0:
			s.deliver(ctx, next)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case e := <-s.events:
			s.take(ctx, e)
		case r := <-s.aims:
			s.aimAt(r)
		case <-adopt.C:
			s.adopt(ctx)
		case <-timer.C:
		case <-s.closing:
		}
		timer.Stop()
	}
}

// next gives the letter that is due first; at the end, one that was never tried.
func (s *Sender) next(closing bool) (next *letter) {
	if s.receiver == nil {
		return nil
	}
	for _, l := range s.pending {
		if (!closing || l.Attempts == 0) && (next == nil || l.Next.Before(next.Next)) {
			next = l
		}
	}
	return next
}

func (s *Sender) takeAll(ctx context.Context) {
	for {
		select {
		case e := <-s.events:
			s.take(ctx, e)
		default:
			return
		}
	}
}
