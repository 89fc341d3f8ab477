package claudecli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// Answer is what a turn produced.
type Answer struct {
	message.Summary
	// CostMicroUSD is the CLI's own figure for the turn; nil when it gave none.
	CostMicroUSD *int64
	// Content holds the whole content blocks, when no Events handler was given.
	Content []jsontext.Value
}

// Handler receives a turn as it happens, on the goroutine that runs the turn.
type Handler struct {
	// First is called at the upstream's first event.
	First func()
	// Event gets each event, valid during the call; nil collects the content
	// blocks in the Answer instead. An error ends the turn.
	Event func(message.Event) error
	// Flush is called when no further event is at hand.
	Flush func() error
}

// totals are the CLI's numbers since the process started.
type totals struct {
	usage   message.Usage
	costUSD float64
	results int
}

func (t totals) since(former totals) (message.Usage, int64) {
	cost := int64(math.Round((t.costUSD - former.costUSD) * 1e6))
	return message.Usage{
		InputTokens:              t.usage.InputTokens - former.usage.InputTokens,
		OutputTokens:             t.usage.OutputTokens - former.usage.OutputTokens,
		CacheReadInputTokens:     t.usage.CacheReadInputTokens - former.usage.CacheReadInputTokens,
		CacheCreationInputTokens: t.usage.CacheCreationInputTokens - former.usage.CacheCreationInputTokens,
	}, cost
}

// account notes the cumulative numbers of a result.
func (p *Process) account(l *line) {
	if len(l.ModelUsage) == 0 {
		return
	}
	var sum message.Usage
	for _, u := range l.ModelUsage {
		sum.InputTokens += u.InputTokens
		sum.OutputTokens += u.OutputTokens
		sum.CacheReadInputTokens += u.CacheReadInputTokens
		sum.CacheCreationInputTokens += u.CacheCreationInputTokens
	}
	p.spent = totals{usage: sum, costUSD: l.TotalCostUSD, results: p.spent.results + 1}
}

// turn is the state of one running turn.
type turn struct {
	*Process
	handler Handler
	answer  Answer
	begun   bool // the first event came
	ended   bool // the message's last event came
	pending bool // events were written and not flushed
}

// Turn sends the prompt and reads its answer to the end: one message. On an
// error the Answer holds what is known so far. The error is ctx's when that
// ended (the turn may still run: Empty stops it), the handler's, or an
// apierror.Error.
func (p *Process) Turn(ctx context.Context, prompt jsontext.Value, handler Handler) (Answer, error) {
	before := p.spent
	defer p.guard(ctx, 0)()
	if err := p.writeUser(ctx, prompt, nil); err != nil {
		return Answer{}, err
	}
	p.turns++
	t := &turn{Process: p, handler: handler}
	result, err := t.run(ctx)
	if p.spent.results > before.results {
		usage, cost := p.spent.since(before)
		t.answer.Usage, t.answer.CostMicroUSD = usage, &cost
	}
	if err == nil {
		err = t.check(result)
	}
	return t.answer, err
}

func (t *turn) run(ctx context.Context) (*line, error) {
	for {
		l, err := t.next(ctx)
		if err != nil {
			return nil, err
		}
		switch l.Type {
		case lineStreamEvent:
			goesOn, err := t.event(l)
			if err != nil {
				return nil, err
			}
			if goesOn {
				return t.cut(ctx)
			}
		case lineAssistant:
			if err := t.assistant(l); err != nil {
				return nil, err
			}
		case lineControlRequest:
			if err := t.refuse(l); err != nil {
				return nil, t.timedOut(ctx, err)
			}
		case lineResult:
			t.account(l)
			t.running = false
			return l, nil
		}
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

// event handles one stream event. It reports true when the CLI goes on by
// itself after the message: a turn is one message, and when max_tokens cuts it
// the CLI would ask the model to resume.
func (t *turn) event(l *line) (goesOn bool, err error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(l.Event, &head); err != nil {
		return false, fmt.Errorf("decode stream event: %w", err)
	}
	if !t.begun {
		t.begun = true
		if t.handler.First != nil {
			t.handler.First()
		}
	} else if t.ended {
		return head.Type == message.EventMessageStart, nil
	}
	e := message.Event{Type: head.Type, Data: l.Event}
	if err := t.answer.Observe(e); err != nil {
		return false, fmt.Errorf("decode stream event: %w", err)
	}
	t.ended = e.Type == message.EventMessageStop
	if t.handler.Event != nil {
		if err := t.handler.Event(e); err != nil {
			return false, err
		}
		t.pending = t.handler.Flush != nil
	}
	return t.ended && t.answer.StopReason == message.StopMaxTokens, nil
}

// assistant takes a whole content block, for a caller who wants no events.
func (t *turn) assistant(l *line) error {
	if t.handler.Event != nil || t.ended {
		return nil
	}
	var m struct {
		ID      string           `json:"id"`
		Content []jsontext.Value `json:"content"`
	}
	if err := json.Unmarshal(l.Message, &m); err != nil {
		return fmt.Errorf("decode assistant message: %w", err)
	}
	if m.ID != t.answer.ID {
		return nil // the CLI's own words, about an error: the result says more
	}
	for _, block := range m.Content {
		t.answer.Content = append(t.answer.Content, block.Clone())
	}
	return nil
}

// cut stops a CLI that goes on after the answer, and waits for its numbers.
func (t *turn) cut(ctx context.Context) (*line, error) {
	_, err := t.ask(ctx, t.options.ControlTimeout, control{Subtype: "interrupt"})
	if err == nil {
		err = t.drain(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &line{Type: lineResult, Subtype: "success"}, nil
}

// check turns a result that says failure into an error.
func (t *turn) check(result *line) error {
	switch {
	case result.IsError:
		return resultError(result)
	case !t.ended:
		return apierror.Wrap(apierror.CLIError, "the Claude Code CLI gave no answer",
			fmt.Errorf("result %q without a whole message", result.Subtype))
	}
	return nil
}
