package clipool

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// Generate serves a request on a worker. Invalid requests are refused before a
// worker is taken. It implements gateway.Backend.
func (p *Pool) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	if call.CountOnly {
		return p.count(call, out)
	}
	w, err := p.prepare(call)
	if err != nil {
		return gateway.Result{}, err
	}
	serve := p.serve
	if call.Fresh {
		serve = p.serveFresh
	}
	answer := serve(ctx, call, w, out)
	// A worker that dies before its upstream said anything has most likely died
	// while it was idle. The caller has got nothing yet: another one serves it. All
	// of them may have died at once.
	for tries := 0; tries < p.options.Workers && answer.again() && ctx.Err() == nil; tries++ {
		answer = serve(ctx, call, w, out)
	}
	err = answer.err
	if err == nil && !call.Request.Stream {
		err = writeMessage(out, answer.Answer)
	}
	result := gateway.Result{Summary: answer.Summary, CostMicroUSD: answer.cost}
	result.Usage = answer.used
	return result, err
}

// answered is what became of a request on a worker.
type answered struct {
	claudecli.Answer
	err error
	// unfit says that a worker which held the conversation couldn't go on with it.
	unfit bool
	// used is what the upstream counted for the request: more than the answer's Usage
	// where the CLI has begun another one by itself.
	used message.Usage
	// cost is its price in millionths of a US dollar, nil when it isn't known.
	cost *int64
	// spent is what the requests of the turn so far came to.
	spent spent
}

// again says that another worker may serve the request: nothing was answered.
func (a answered) again() bool {
	return a.ID == "" && (a.unfit || errors.Is(a.err, claudecli.ErrDied))
}

// serve runs the request: on the worker that still holds its conversation, else
// on one that the conversation is put into.
func (p *Pool) serve(ctx context.Context, call *gateway.Call, w *work, out gateway.EventWriter) (answer answered) {
	worker, held := p.claim(w)
	if worker == nil {
		worker, answer.err = p.acquire(ctx, w.demand)
	}
	call.Clock.Mark(latency.Queue)
	if answer.err != nil {
		return answer
	}
	var keep *kept
	defer func() { p.release(w.demand.key, worker, keep) }()
	// It may have waited for the probe's end.
	if answer.err = p.check(call, w); answer.err != nil {
		return answer
	}
	answer = p.run(ctx, call, w, worker, held, out)
	worker.served = worker.served || answer.ID != ""
	if answer.err == nil {
		keep = p.keepable(w, worker, answer)
	}
	return answer
}

// run has a worker's process answer the request. held is the conversation that is in it
// already.
func (p *Pool) run(ctx context.Context, call *gateway.Call, w *work, worker *worker, held *kept, out gateway.EventWriter) (answer answered) {
	process := worker.process
	last := len(w.Turns) - 1
	if held.parked() {
		call.Clock.Mark(latency.Bind)
		worker.phase.Store(busy)
		answer.Answer, answer.err = process.Resume(ctx, w.settings, w.results, handler(call, out))
		answer.unfit = errors.Is(answer.err, claudecli.ErrNotResumed)
		p.account(call, &answer, held.spent)
		return answer
	}
	answer.err = process.Bind(ctx, w.settings)
	if answer.err == nil && held == nil {
		answer.err = process.Replay(ctx, w.Turns[:last])
	}
	call.Clock.Mark(latency.Bind)
	if answer.err != nil {
		answer.unfit = held != nil
		return answer
	}
	worker.phase.Store(busy)
	answer.Answer, answer.err = process.Turn(ctx, w.Turns[last].Content, handler(call, out))
	p.account(call, &answer, spent{})
	return answer
}

// class is what a worker must have served before, if anything, to serve the
// demand. Before the CLI is probed it is of no consequence.
func (p *Pool) class(d demand) string {
	f := p.features.Load()
	if f == nil {
		return ""
	}
	class := f.Class(d.system)
	if p.options.Reuse == ReuseSameProject {
		class = d.project + "\x00" + class
	}
	return class
}

func handler(call *gateway.Call, out gateway.EventWriter) claudecli.Handler {
	h := claudecli.Handler{First: func() { call.Clock.Mark(latency.FirstByte) }}
	if call.Request.Stream {
		h.Event, h.Flush = out.Event, out.Flush
	}
	return h
}

func writeMessage(out gateway.EventWriter, answer claudecli.Answer) error {
	content := answer.Content
	if content == nil {
		content = []jsontext.Value{}
	}
	body, err := json.Marshal(message.Message{
		ID: answer.ID, Type: "message", Role: message.RoleAssistant, Model: answer.Model,
		Content: content, StopReason: answer.StopReason, Usage: answer.Usage,
	})
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return out.Message(body)
}
