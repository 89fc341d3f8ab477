package claudecli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// Answer is what a turn produced.
type Answer struct {
	message.Summary
	// Turn is the CLI's own account of the turn, nil when it gave none, as for an
	// answer that parked. It counts all calls of the upstream: also those for answers
	// that had parked, and what the CLI began by itself.
	Turn *Spent
	// Calls are the ids of the tool calls on which the turn is parked; nil when it
	// has ended, also if the answer's stop_reason is tool_use: then the results are
	// for a replay.
	Calls []string
	// Settled says that the turn ended by itself with this answer: what the process
	// holds is the conversation with the answer, and nothing of the CLI's own. It
	// isn't so where the CLI was stopped, or reports an error all the same.
	Settled bool
	// Content holds the whole content blocks.
	Content []jsontext.Value
}

// Spent is what a turn has used.
type Spent struct {
	Usage        message.Usage
	CostMicroUSD int64
	Basis        CostBasis
}

// CostBasis says what a figure of the CLI's rests on.
type CostBasis int

// The bases.
const (
	BasisNotSaid CostBasis = iota // an older CLI, which may have guessed
	BasisList                     // the CLI's list of prices
	BasisUnknown                  // a guess: the CLI doesn't know the model
)

// Handler receives a turn as it happens, on the goroutine that runs the turn.
type Handler struct {
	// First is called at the upstream's first event.
	First func()
	// Event gets each event, valid during the call; nil: none. An error ends the
	// turn.
	Event func(message.Event) error
	// Flush is called when no further event is at hand.
	Flush func() error
}

// turn is the state of one running turn.
type turn struct {
	*Process
	handler Handler
	answer  Answer
	begun   bool // the first event came
	ended   bool // the message's last event came
	cutOff  bool // the upstream failed in the middle of the message
	added   bool // the CLI put a message of its own behind the answer
	uses    []toolUse
	// invented says that a tool was called that isn't the client's.
	invented bool
	reason   string // the CLI's name for why there is no answer
	goesOn   bool   // the CLI would go on with another message
	written  int64  // bytes of the answer, roughly
	meter    *meter // of a bounded answer whose max_tokens can't be set
	pending  bool   // events were written and not flushed
}

// Turn sends the prompt and reads its answer to the end: one message. An answer
// that ends in calls of the client's tools leaves the process parked. On an
// error the Answer holds what is known so far. The error is ctx's when that
// ended, the handler's, or an apierror.Error. A turn that had begun to answer is
// stopped then, so that what it has cost is known; one that hadn't may still
// run, until Empty stops it.
func (p *Process) Turn(ctx context.Context, prompt jsontext.Value, handler Handler) (Answer, error) {
	if p.Parked() {
		return Answer{}, asCLIError("the Claude Code CLI is in the middle of another turn", errParked)
	}
	p.turns++
	p.before, p.resumed = p.spent, false
	p.announced, p.results = nil, nil
	t := &turn{Process: p, handler: handler, meter: p.newMeter()}
	return t.run(ctx, func() error {
		defer t.guard(ctx, t.options.IdleTimeout)()
		return t.writeUser(ctx, prompt, nil)
	})
}

// run sends what the CLI waits for and reads an answer.
func (t *turn) run(ctx context.Context, send func() error) (Answer, error) {
	err := t.exchange(ctx, send)
	// Of an answer that is whole only the numbers are missing then: a caller who
	// leaves meanwhile is no reason to lose them, and the process.
	if (t.goesOn || err != nil && t.begun) && t.running && t.broken == nil {
		t.interrupt(context.WithoutCancel(ctx))
	}
	if t.begun && t.answer.StopReason == "" {
		t.estimate()
	}
	if spent := t.spent.add(t.before, -1); spent != (totals{}) {
		t.answer.Turn = &Spent{
			Usage: spent.usage, CostMicroUSD: int64(math.Round(spent.costUSD * 1e6)), Basis: t.basis(t.answer.Model),
		}
	}
	if err == nil && t.meter != nil && t.meter.cut {
		err = t.closeCut()
	}
	return t.answer, err
}

func (t *turn) exchange(ctx context.Context, send func() error) error {
	if err := send(); err != nil {
		return err
	}
	defer t.guard(ctx, t.options.IdleTimeout)()
	for {
		l, err := t.next(ctx)
		if err != nil {
			return err
		}
		switch l.Type {
		case lineStreamEvent:
			if err := t.event(l); err != nil {
				return err
			}
			if t.goesOn {
				return nil
			}
			if t.ended && len(t.uses) > 0 {
				return t.called(ctx)
			}
		case lineAssistant:
			if err := t.assistant(l); err != nil {
				return err
			}
		case lineRateLimit:
			if err := t.rateLimit(l); err != nil {
				return err
			}
		case lineControlRequest:
			if err := t.serve(l); err != nil {
				return t.timedOut(ctx, err)
			}
		case lineResult:
			r, err := t.result(l)
			if err != nil {
				return err
			}
			t.answer.Settled = t.ended && !t.added && !r.IsError
			return t.check(r)
		}
	}
}

// called ends an answer that calls tools. One that ends for another reason is
// whole; the CLI would run the calls all the same.
func (t *turn) called(ctx context.Context) error {
	if t.pending {
		t.pending = false
		if err := t.handler.Flush(); err != nil {
			return err
		}
	}
	if t.answer.StopReason == message.StopToolUse {
		return t.park(ctx)
	}
	t.goesOn = true
	return nil
}

// refuseCalls ends the calls that wait: nobody will answer them.
func (t *turn) refuseCalls() error {
	calls := t.calls
	t.announced, t.calls = nil, nil
	for _, call := range calls {
		if err := t.refuse(call.requestID); err != nil {
			return err
		}
	}
	return nil
}

// interrupt stops the turn and waits for its numbers. Where that doesn't work
// the process isn't used again.
func (t *turn) interrupt(ctx context.Context) {
	t.announced, t.calls = nil, nil
	_, err := t.ask(ctx, drainTimeout, control{Subtype: "interrupt"})
	if err == nil {
		err = t.drain(ctx)
	}
	if err != nil && t.broken == nil {
		t.broken = err
	}
}

// next reads a line within the idle timeout, and flushes first when it would
// wait.
func (t *turn) next(ctx context.Context) (*line, error) {
	if t.pending && !t.lines.buffered() {
		t.pending = false
		if err := t.handler.Flush(); err != nil {
			return nil, err
		}
	}
	if err := t.stdout.SetReadDeadline(time.Now().Add(t.options.IdleTimeout)); err != nil {
		return nil, t.failure("read from the process", err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	l, err := t.read()
	if err == nil {
		return l, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		return nil, apierror.Wrap(apierror.Timeout, fmt.Sprintf("no answer for %s", t.options.IdleTimeout), err)
	}
	return nil, t.timedOut(ctx, err)
}

// event handles one stream event. A turn is one message; a CLI that begins
// another goes on by itself, and so it would after an answer that max_tokens
// has cut: it asks the model to resume.
func (t *turn) event(l *line) error {
	if !t.begun {
		t.begun = true
		if len(t.results) > 0 {
			// It has answered a call by itself, and asked the model to go on.
			return fmt.Errorf("%w: the CLI didn't ask for a result", ErrNotResumed)
		}
		if t.handler.First != nil {
			t.handler.First()
		}
		t.bar()
	} else if t.ended {
		t.goesOn = l.EventType == message.EventMessageStart
		return nil
	} else if l.EventType == message.EventMessageStart {
		t.cutOff = true // it goes on after half a message
	}
	if t.cutOff {
		return nil
	}
	e := message.Event{Type: l.EventType, Data: l.Event}
	if err := t.answer.Observe(e); err != nil {
		return fmt.Errorf("decode stream event: %w", err)
	}
	if t.answer.StopReason == "" && (e.Type == message.EventMessageDelta || e.Type == message.EventMessageStop) {
		// The CLI closes a message by itself when its upstream fails in the middle.
		// That is no end: the result says what happened.
		t.cutOff = true
		return t.refuseCalls()
	}
	if e.Type == message.EventContentBlockStart && len(t.offered) > 0 {
		var err error
		if e.Data, err = t.blockStart(e.Data); err != nil {
			return err
		}
	}
	if e.Type == message.EventContentBlockDelta {
		t.written += deltaBytes(e.Data)
	}
	t.ended = e.Type == message.EventMessageStop
	if e.Type == message.EventMessageDelta && t.answer.StopReason == message.StopMaxTokens {
		// The sooner the CLI is stopped, the less it asks for more. What follows in
		// the answer is known.
		t.ended, t.goesOn = true, true
	}
	if t.meter != nil {
		if err := t.meter.observe(e); err != nil {
			return fmt.Errorf("decode stream event: %w", err)
		}
		t.goesOn = t.goesOn || t.meter.cut
	}
	if t.handler.Event == nil {
		return nil
	}
	t.pending = t.handler.Flush != nil
	if err := t.handler.Event(e); err != nil || !t.goesOn || t.answer.StopReason == "" {
		return err
	}
	return t.handler.Event(message.Event{Type: message.EventMessageStop, Data: []byte(`{"type":"message_stop"}`)})
}

// assistant takes a whole content block.
func (t *turn) assistant(l *line) error {
	if t.ended {
		t.added = true
		return nil
	}
	var m struct {
		Error   string `json:"error"`
		Message struct {
			ID      string           `json:"id"`
			Content []jsontext.Value `json:"content"`
		} `json:"message"`
	}
	if err := decode(l.Raw, &m); err != nil {
		return fmt.Errorf("decode assistant message: %w", err)
	}
	if m.Message.ID != t.answer.ID {
		t.reason = m.Error     // the CLI's own words, about an error
		return t.refuseCalls() // it would wait for them before it ends the turn
	}
	if len(t.offered) > 0 {
		for i, block := range m.Message.Content {
			renamed, use, err := t.renamer.block(block)
			if err != nil {
				return fmt.Errorf("decode content block: %w", err)
			}
			if use != nil {
				m.Message.Content[i] = slices.Clone(renamed)
			}
		}
	}
	t.answer.Content = append(t.answer.Content, m.Message.Content...)
	return nil
}

// blockStart gives the tools that the answer calls the client's names back, and
// notes the calls.
func (t *turn) blockStart(data []byte) ([]byte, error) {
	data, use, err := t.renamer.start(data)
	if err != nil {
		return nil, fmt.Errorf("decode stream event: %w", err)
	}
	if use != nil {
		t.uses, t.announced = append(t.uses, *use), append(t.announced, use.id)
		t.invented = t.invented || !slices.Contains(t.offered, use.name)
	}
	return data, nil
}

// check turns a result that says failure into an error. An answer that came
// whole is one, whatever the CLI makes of it (2.1.197 calls a refusal an error).
func (t *turn) check(r *resultLine) error {
	switch {
	case t.ended:
		return nil
	case r.IsError:
		return waiting(resultError(r, t.reason), t.limited)
	case t.cutOff:
		// The CLI asked once more by itself, and half of the former message has gone on.
		return apierror.Wrap(apierror.UpstreamError, brokeOff, fmt.Errorf("result %q after half a message", r.Subtype))
	}
	return apierror.Wrap(apierror.CLIError, "the Claude Code CLI gave no answer",
		fmt.Errorf("result %q without a whole message", r.Subtype))
}
