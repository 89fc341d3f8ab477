package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// ErrOpen is in the chain of a refusal by an open circuit breaker.
var ErrOpen = errors.New("the circuit breaker is open")

// Other is the family of models that belong to none of those with an alias.
const Other = "other"

// families are the model families, each with breakers of its own: what one of them
// has no capacity for, another may have.
var families = [...]string{Haiku, Sonnet, Opus, Other}

func familyOf(model string) string {
	for _, name := range families {
		if strings.Contains(model, name) {
			return name
		}
	}
	return Other
}

// BreakersOptions configure Breakers.
type BreakersOptions struct {
	// Threshold is after how many failures in a row a breaker opens; 0: never.
	Threshold int
	// Recovery is how long it stays open before a call is let through as a probe.
	Recovery time.Duration
	// Logger hears of each change. May be nil.
	Logger *slog.Logger
}

// Breakers are the circuit breakers of the backends, one for each family of models.
// They are safe for concurrent use. A nil *Breakers has none.
type Breakers struct {
	options BreakersOptions
	of      map[place]*breaker // never changed
}

// place is where a breaker stands.
type place struct{ backend, family string }

// NewBreakers makes the breakers.
func NewBreakers(options BreakersOptions) *Breakers {
	if options.Threshold == 0 {
		return nil
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Breakers{options: options, of: map[place]*breaker{}}
	for _, backend := range order {
		for _, family := range families {
			p := place{backend, family}
			b.of[p] = &breaker{
				threshold: options.Threshold, recovery: options.Recovery, changed: func(from, to State) { b.log(p, from, to) },
			}
		}
	}
	return b
}

func (b *Breakers) log(p place, from, to State) {
	level := slog.LevelInfo
	if to == Open {
		level = slog.LevelWarn // requests are refused at once
	}
	b.options.Logger.LogAttrs(context.Background(), level, "a circuit breaker changed", slog.String("backend", p.backend), slog.String("family", p.family),
		slog.String("from", from.String()), slog.String("to", to.String()), slog.Duration("recovery", b.options.Recovery))
}

// Standing is the state of one breaker.
type Standing struct {
	Family   string
	State    State
	Wait     time.Duration // until a call is let through
	Failures int           // in a row, while it is closed
}

// Of gives the state of a backend's breakers, in the order of their families.
func (b *Breakers) Of(backend string) []Standing {
	var list []Standing
	if b == nil {
		return nil
	}
	for _, family := range families {
		state, wait, failures := b.of[place{backend, family}].now()
		list = append(list, Standing{family, state, wait, failures})
	}
	return list
}

// admits says whether a backend's breaker would let a call of the model through.
func (b *Breakers) admits(backend, model string) bool {
	if b == nil {
		return true
	}
	_, wait, _ := b.of[place{backend, familyOf(model)}].now()
	return wait == 0
}

// Guard puts the breakers of the name in front of a backend. Calls that only count
// tokens pass: they say nothing of what answers.
func (b *Breakers) Guard(name string, backend gateway.Backend) gateway.Backend {
	if b == nil {
		return backend
	}
	return &guarded{name: name, backend: backend, breakers: b}
}

type guarded struct {
	name     string
	backend  gateway.Backend
	breakers *Breakers
}

// Generate implements gateway.Backend.
func (g *guarded) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (result gateway.Result, err error) {
	if call.CountOnly {
		return g.backend.Generate(ctx, call, out)
	}
	p := place{g.name, familyOf(call.Model)}
	b := g.breakers.of[p]
	ticket, wait, ok := b.enter()
	if !ok {
		return gateway.Result{}, &apierror.Error{
			Category: apierror.Overloaded, RetryAfter: wait, Cause: ErrOpen,
			Message: fmt.Sprintf("the %s backend fails for models of the family %q: it isn't asked for a while", p.backend, p.family),
		}
	}
	learned := neither // also of a panic
	defer func() { b.leave(ticket, learned) }()
	if ticket.probe != 0 {
		out = &watched{EventWriter: out, begun: func() { b.answers(ticket) }}
	}
	result, err = g.backend.Generate(ctx, call, out)
	learned = judge(ctx, err)
	return result, err
}

// judge says what the end of a call tells of the upstream. A caller who left says
// nothing, nor does a request that was at fault, a refused credential, or a backend
// that refuses a call before it asks.
func judge(ctx context.Context, err error) outcome {
	if err == nil {
		return success
	}
	e := apierror.From(err)
	if ctx.Err() != nil || !e.MayPass() || e.Category == apierror.Overloaded && e.Upstream == nil {
		return neither
	}
	return failure
}

// watched tells when an answer begins.
type watched struct {
	gateway.EventWriter
	begun func()
	wrote bool
}

func (w *watched) begin() {
	if !w.wrote {
		w.wrote = true
		w.begun()
	}
}

// Event implements gateway.EventWriter.
func (w *watched) Event(e message.Event) error {
	w.begin()
	return w.EventWriter.Event(e)
}

// Message implements gateway.EventWriter.
func (w *watched) Message(body []byte) error {
	w.begin()
	return w.EventWriter.Message(body)
}
