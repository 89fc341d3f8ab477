package processapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// defaultBatchTimeout bounds a batch that names no timeout of its own, in
// seconds.
const defaultBatchTimeout = 300

// work is a batch that is ready to run.
type work struct {
	*batchRequest
	call  *gateway.Call
	model string // of every prompt
	head  []byte // what the Messages requests have in common
	told  warnings
	// timeout is for the whole batch.
	timeout time.Duration
	// known says which prompts needn't be asked any more; nil: none.
	known map[int]bool
	// done hears of each prompt's end, one at a time; nil: nobody listens.
	done func(i int, o outcome)
	// waits says that a prompt waits for the key's limits instead of failing at them.
	waits bool
}

func (h *Handler) serveBatch(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	batch, body, err := read(h, w, r, decodeBatch)
	if err != nil {
		return err
	}
	if most := h.options.BatchPrompts; len(batch.prompts) > most {
		return apierror.Invalid("prompts", "prompts: at most %d are allowed, there are %d", most, len(batch.prompts))
	}
	b, err := h.prepareBatch(call, batch, defaultBatchTimeout*time.Second)
	if err != nil {
		return err
	}
	if batch.async {
		return h.serveBatchAsync(w, r, call, body)
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.timeout)
	defer cancel()
	outcomes := h.runBatch(ctx, b)
	if r.Context().Err() != nil {
		return gone(r.Context())
	}
	if !slices.ContainsFunc(outcomes, func(o outcome) bool { return o.err == nil || o.paid }) {
		call.Fail()
	}
	call.Clock.Finish()
	protocol.SetHeader(w.Header(), call)
	results := results{Total: len(outcomes)}
	for i, o := range outcomes {
		results.Prompts = append(results.Prompts, resultOf(i, batch.prompts[i], o))
	}
	return protocol.WriteJSON(w, http.StatusOK, results.append(nil))
}

// prepareBatch reads what of a batch its prompts have in common.
func (h *Handler) prepareBatch(call *gateway.Call, batch *batchRequest, timeout time.Duration) (*work, error) {
	protocol.PreferBackend(call, batch.useCLI)
	b := &work{batchRequest: batch, call: call, model: modelAuto, timeout: timeout}
	if batch.model != "" {
		var mapped bool
		if b.model, mapped = substitute(h.options.Models, batch.model); mapped {
			batch.warn("model", b.model+" answers in its place")
		}
	}
	var err error
	if b.head, b.told, err = batch.head(b.model, h.options.Rules(b.model)); err != nil {
		return nil, err
	}
	call.Warnings = slices.Clip(batch.warnings)
	billing(call, batch.projectID)
	if seconds := batch.timeout; seconds != nil && *seconds > 0 {
		b.timeout = time.Duration(*seconds * float64(time.Second))
	}
	return b, nil
}

// runBatch answers every prompt that isn't known, so many at once as the options say. What the
// calls warn of becomes the batch's. Where the service chooses the model (auto),
// and where another one serves a prompt instead, its head is written anew for that.
func (h *Handler) runBatch(ctx context.Context, b *work) []outcome {
	outcomes := make([]outcome, len(b.prompts))
	common := slices.Clip(b.call.Warnings)
	var next atomic.Int64
	var mu sync.Mutex // guards b.call.Warnings and backends, and lets one done through
	var backends []string
	var workers sync.WaitGroup
	for range min(h.options.BatchParallel, len(b.prompts)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(b.prompts) {
					return
				}
				if b.known[i] {
					continue
				}
				var child *gateway.Call
				child, outcomes[i] = h.runPrompt(ctx, b, i, common)
				mu.Lock()
				if child.Backend != "" && !slices.Contains(backends, child.Backend) {
					backends = append(backends, child.Backend)
				}
				for _, text := range child.Warnings {
					if !slices.Contains(b.call.Warnings, text) {
						b.call.Warn(text)
					}
				}
				if b.done != nil {
					b.done(i, outcomes[i])
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if len(backends) == 1 {
		b.call.Backend = backends[0]
	}
	return outcomes
}

// child makes the call of a prompt.
func (h *Handler) child(b *work, i int, common warnings) *gateway.Call {
	child := b.call.Child(b.call.RequestID + "-" + strconv.Itoa(i+1))
	child.Requested, child.Defaults = b.batchRequest.model, b.defaults()
	child.Warnings = slices.Concat(common, b.told) // a strict call minds them
	child.Rerouted = func() error {
		head, again, err := b.batchRequest.head(b.model, h.options.Rules(child.Model))
		if err != nil {
			return err
		}
		child.Warnings = slices.Concat(common, again, child.Warnings[len(common)+len(b.told):])
		child.Request, err = promptRequest(head, b.prompts[i].text)
		return err
	}
	if b.model == modelAuto {
		child.Routed = child.Rerouted
	}
	return child
}

// promptRequest writes the Messages request of a prompt.
func promptRequest(head []byte, prompt jsontext.Value) (*message.Request, error) {
	body := make([]byte, 0, len(head)+len(prompt)+8)
	return message.ParseRequest(append(append(append(body, head...), prompt...), "}]}"...))
}

// runPrompt answers one prompt, and gives the call that did. One that comes too late
// fails without being tried.
func (h *Handler) runPrompt(ctx context.Context, b *work, i int, common warnings) (*gateway.Call, outcome) {
	for {
		call, begun := h.child(b, i, common), false
		call.Admitted = func() error { begun = true; return nil }
		o := h.tryPrompt(ctx, b, call, b.prompts[i].text)
		wait, limited := limitedFor(o.err)
		if !b.waits || begun || !limited {
			return call, o
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (h *Handler) tryPrompt(ctx context.Context, b *work, call *gateway.Call, prompt jsontext.Value) outcome {
	if ctx.Err() != nil {
		return outcome{err: apierror.Wrap(apierror.Timeout, "the batch took longer than allowed", ctx.Err())}
	}
	var err error
	if call.Request, err = promptRequest(b.head, prompt); err != nil {
		return outcome{err: apierror.From(err)}
	}
	g := h.gateway
	if b.waits {
		g = untoldOf(g)
	}
	out := &promptWriter{whole: whole{call: call, scanners: &h.scanners}}
	if err := serveApart(ctx, g, call, out); err != nil {
		if _, limited := limitedFor(apierror.From(err)); !b.waits || !limited {
			protocol.Log(ctx, h.log, call.RequestID, err)
		}
		return outcome{err: apierror.From(err), paid: call.Paid()}
	}
	return outcome{answer: out.answer, result: out.result, paid: call.Paid()}
}
