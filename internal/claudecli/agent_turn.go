package claudecli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// AgentHandler hears of a turn as it happens. Judge and Permit decide what is done;
// without them nothing is.
type AgentHandler struct {
	// Event gets each event, on the goroutine that runs the turn; nil: none. An error
	// ends the turn.
	Event func(AgentEvent) error
	// Stream gets the events of the run's own answers as the Messages API sends them,
	// not those of agents that it starts; nil: none. They are valid during the call. An
	// error ends the turn.
	Stream func(message.Event) error
	// Judge is asked of every tool use before anything else, also of agents that the
	// run has started, on the goroutine that runs the turn: it must be fast. nil asks
	// of each.
	Judge func(ctx context.Context, call ToolCall) Verdict
	// Permit is asked of those that Judge or the CLI's own rules don't decide. It may
	// take its time, several may be asked at once, beside the other functions. ctx ends
	// with the turn, and when the CLI no longer wants to know. An error denies; nil
	// denies all.
	Permit func(ctx context.Context, call ToolCall) (Verdict, error)
	// MaxTurns is how often the model may be asked at the most, by the run itself; 0:
	// no limit. What its last answer then calls isn't run.
	MaxTurns int
}

// AgentAnswer is what is known of a turn at its end, also beside an error.
type AgentAnswer struct {
	Session string
	Model   string // the answered model
	Text    string // of the last answer
	Turns   int    // how often the model was asked by the run itself
	// Spent is the CLI's own account of the turn, agents and side calls in it; nil when
	// it gave none.
	Spent *Spent
	// Denied are the tool uses that were refused, the first hundred.
	Denied []ToolCall
	// OutOfTurns says that the turn was ended by AgentHandler.MaxTurns.
	OutOfTurns bool
}

// maxDenied bounds AgentAnswer.Denied.
const maxDenied = 100

// agentTurn is the state of one running turn.
type agentTurn struct {
	*Agent
	handler AgentHandler
	answer  AgentAnswer
	before  totals
	text    strings.Builder         // of the answer that is being written
	reason  string                  // the CLI's name for why there is no answer
	agents  map[string]startedAgent // by the CLI's names for them
	held    bool                    // a call was left without an answer since the turn is over
	whole   bool                    // the answer that is being written has ended

	ctx     context.Context //nolint:containedctx // of the calls of Permit, which end with the turn
	permits sync.WaitGroup
	mu      sync.Mutex
	waiting map[string]context.CancelFunc // by the id of the CLI's request
	denied  []ToolCall
}

// startedAgent is an agent that the run has started: by which tool use, and its type.
type startedAgent struct{ toolUse, kind string }

// errOutOfTurns ends a turn that has reached MaxTurns.
var errOutOfTurns = errors.New("no further turn is allowed")

// Turn sends the prompt, a text or content blocks, and reads until the run ends or
// ctx does, which is the only limit on its time. On an error the answer holds what is
// known so far. The error is ctx's cause when that ended, the handler's, or an
// apierror.Error. A turn that is ended early is interrupted, so that what it has cost
// is known; a process that doesn't heed that is killed.
func (a *Agent) Turn(ctx context.Context, prompt jsontext.Value, handler AgentHandler) (AgentAnswer, error) {
	if a.broken != nil {
		return AgentAnswer{}, asCLIError("the Claude Code CLI can't be used any more", a.broken)
	}
	permitted, end := context.WithCancel(ctx)
	t := &agentTurn{
		Agent: a, handler: handler, before: a.spent, ctx: permitted,
		agents: map[string]startedAgent{}, waiting: map[string]context.CancelFunc{},
	}
	err := t.run(ctx, prompt)
	end()
	t.permits.Wait()
	t.finish()
	return t.answer, err
}

func (t *agentTurn) run(ctx context.Context, prompt jsontext.Value) error {
	content, err := asText(prompt)
	if err == nil {
		content, err = withoutMentions(content)
	}
	if err != nil {
		return asCLIError("the prompt can't be sent", err)
	}
	free := t.readUntil(ctx)
	err = t.send(userLine{Type: lineUser, Message: message.Turn{Role: message.RoleUser, Content: content}, UUID: NewUUID()})
	if err != nil {
		t.broken = err
	} else {
		t.running = true
		err = t.read(ctx)
	}
	free()
	if err != nil && t.running && t.broken == nil {
		t.interrupt()
	}
	if errors.Is(err, errOutOfTurns) {
		t.answer.OutOfTurns = true
		return nil
	}
	return err
}

// readUntil makes reads end when ctx does. The function that it returns must be called
// before another deadline is set. Writes have their own: see send.
func (t *agentTurn) readUntil(ctx context.Context) func() {
	_ = t.stdout.SetReadDeadline(time.Time{}) // a closed pipe says so at the read
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = t.stdout.SetReadDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// read takes lines until the turn's result. A result that has come counts though ctx
// has ended meanwhile.
func (t *agentTurn) read(ctx context.Context) error {
	for t.running {
		l, err := t.child.read()
		switch {
		case err == nil:
			err = t.take(l)
		case ctx.Err() == nil:
			err = asCLIError("the Claude Code CLI ended unexpectedly", err)
		default:
			err = nil // the deadline
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil && t.running {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (t *agentTurn) take(l *line) error {
	switch l.Type {
	case lineSystem:
		return t.system(l)
	case lineStreamEvent:
		return t.stream(l)
	case lineAssistant:
		return t.assistant(l)
	case lineUser:
		return t.user(l)
	case lineRateLimit:
		return t.rateLimit(l)
	case lineControlRequest:
		return t.asked(l)
	case lineControlCancel:
		return t.withdrawn(l)
	case lineResult:
		r, err := t.result(l)
		if err != nil {
			return err
		}
		return t.check(r)
	}
	return nil
}

// check makes an error of a result that doesn't say success. Of one that does it takes
// the text where no answer had one.
func (t *agentTurn) check(r *resultLine) error {
	if r.IsError {
		return waiting(resultError(r, t.reason), t.limited)
	}
	if r.Subtype != "success" {
		return apierror.Wrap(apierror.CLIError, "the Claude Code CLI gave no answer", fmt.Errorf("result %q", r.Subtype))
	}
	if t.text.Len() > 0 || r.Result.Kind() != '"' {
		return nil
	}
	var text string
	if err := decode(r.Result, &text); err != nil {
		return fmt.Errorf("decode result: %w", err)
	}
	t.text.WriteString(text)
	return nil
}

// interrupt stops the turn and waits for its numbers no longer than for any control
// request. Whatever the CLI asks
// meanwhile is refused. Where that doesn't work the process isn't used again.
func (t *agentTurn) interrupt() {
	t.stopAsking()
	_ = t.stdout.SetReadDeadline(time.Now().Add(t.options.ControlTimeout)) // a closed pipe says so at the read
	t.requests++
	err := t.send(controlRequest{lineControlRequest, controlID(t.requests), control{Subtype: "interrupt"}})
	for err == nil && t.running {
		var l *line
		if l, err = t.child.read(); err != nil {
			break
		}
		switch l.Type {
		case lineResult:
			_, err = t.result(l)
		case lineControlRequest:
			err = t.refuseAsked(l)
		}
	}
	if err != nil {
		if t.broken == nil {
			t.broken = err
		}
		t.Kill()
	}
}

func (t *agentTurn) finish() {
	t.answer.Session, t.answer.Text, t.answer.Denied = t.Session(), t.text.String(), t.denied
	if spent := t.spent.add(t.before, -1); spent != (totals{}) {
		t.answer.Spent = &Spent{
			Usage: spent.usage, CostMicroUSD: int64(math.Round(spent.costUSD * 1e6)), Basis: t.basis(t.answer.Model),
		}
	}
}

// send writes one line. Several goroutines may.
func (a *Agent) send(v any) error {
	var text bytes.Buffer
	if err := appendLine(&text, v); err != nil {
		return err
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	_ = a.stdin.SetWriteDeadline(time.Now().Add(a.options.ControlTimeout)) // a closed pipe says so at the write
	if _, err := a.stdin.Write(text.Bytes()); err != nil {
		// Half a line may have gone out: the reading end hears of it.
		a.Kill()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return apierror.Wrap(apierror.CLIError, "the Claude Code CLI didn't answer in time", err)
		}
		return apierror.Wrap(apierror.CLIError, "the Claude Code CLI ended unexpectedly", fmt.Errorf("%w: %w", ErrDied, err))
	}
	return nil
}
