package processapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol"
)

// serveAsync queues a request.
func (h *Handler) serveAsync(w http.ResponseWriter, r *http.Request, call *gateway.Call, body []byte) error {
	j := job.Job{ID: newID("proc_"), Kind: job.KindProcess}
	if call.Work != nil {
		j.MaxAttempts = 1 // what its tools have done isn't done again
	}
	err := h.gateway.Accept(r.Context(), call, func(ctx context.Context) (err error) {
		j, err = h.submit(ctx, call, j, body)
		return err
	})
	if err != nil {
		return err
	}
	return accept(w, call, pathProcess, j.ID)
}

// asyncWriter keeps the answer for its job.
type asyncWriter struct {
	whole
	body []byte
}

// End implements gateway.EventWriter.
func (a *asyncWriter) End(result gateway.Result) (err error) {
	a.body, err = a.document(result)
	return err
}

// Works give who does the jobs of this family: the Handler that is the present one when
// a job runs.
func Works(now func() *Handler) map[job.Kind]job.Work {
	return map[job.Kind]job.Work{
		job.KindProcess: func(ctx context.Context, r *job.Run) (jsontext.Value, error) { return now().process(ctx, r) },
		job.KindBatch:   func(ctx context.Context, r *job.Run) (jsontext.Value, error) { return now().batch(ctx, r) },
	}
}

// process does a job of the kind process.
func (h *Handler) process(ctx context.Context, r Run) (jsontext.Value, error) {
	j := r.Job()
	ctx, done := h.grace.begin(ctx)
	defer done()
	call, o, err := h.taken(ctx, &j, pathProcess)
	if err != nil {
		return h.untaken(ctx, err)
	}
	scanner := h.scanners.Get(o.Body)
	request, err := decode(scanner)
	h.scanners.Put(scanner)
	if err == nil {
		err = request.work.Ask(h.gateway, call, request.timeout)
	}
	var asked asked
	if err == nil {
		asked, err = h.prepare(call, request, len(o.Body))
	}
	if err == nil && call.Work != nil && j.Progress != nil {
		err = apierror.New(apierror.Overloaded, job.Interrupted)
	}
	if err != nil {
		return h.failed(ctx, o, err)
	}
	ctx, cancel := context.WithTimeout(ctx, h.options.AsyncTimeout)
	defer cancel()
	limited, release := withTimeout(ctx, request.timeout)
	defer release()
	out := &asyncWriter{whole: whole{call: call, asked: asked, scanners: &h.scanners}}
	begun := false
	call.Admitted = func() error {
		begun = true
		if call.Work == nil {
			return nil
		}
		return r.Note(ctx, jsontext.Value(`true`))
	}
	if err = h.serveLater(limited, call, out); err == nil && out.body == nil {
		err = protocol.ErrForm
	}
	if wait, limited := limitedFor(apierror.From(err)); limited && !begun && time.Since(j.Created) < maxWait {
		return nil, job.Later(err, wait)
	}
	if err != nil && errors.Is(context.Cause(ctx), job.ErrStopping) {
		err = errors.Join(err, job.ErrStopping) // cut off: it is to be done again
	}
	if err != nil {
		return h.failed(ctx, o, err)
	}
	return out.body, nil
}

// serveLater serves a call that was accepted before.
func (h *Handler) serveLater(ctx context.Context, call *gateway.Call, out gateway.EventWriter) error {
	call.Caller = call.Caller.Accepted()
	return serveApart(ctx, untoldOf(h.gateway), call, out)
}

// untold leaves out what of a request only waits for its key's limits.
type untold struct {
	recorder gateway.Recorder
	observer gateway.Observer
}

func untoldOf(g *gateway.Gateway) *gateway.Gateway {
	own := g.Options
	u := &untold{own.Recorder, own.Observer}
	own.Recorder, own.Observer = u, u
	return gateway.New(own)
}

func waits(e *gateway.Entry) bool { return e.Refused && e.Category == string(apierror.RateLimited) }

// Record implements gateway.Recorder.
func (u *untold) Record(ctx context.Context, e gateway.Entry) error {
	if waits(&e) {
		return nil
	}
	return u.recorder.Record(ctx, e)
}

// Observe implements gateway.Observer.
func (u *untold) Observe(e gateway.Entry) {
	if !waits(&e) {
		u.observer.Observe(e)
	}
}

// limitedFor says how long an error that a limit gave is to be waited for.
func limitedFor(e *apierror.Error) (time.Duration, bool) {
	if e == nil || e.Category != apierror.RateLimited {
		return 0, false
	}
	return max(e.RetryAfter, time.Second), true
}

// untaken ends an attempt at a job whose caller isn't known. That the store fails
// passes.
func (h *Handler) untaken(ctx context.Context, err error) (jsontext.Value, error) {
	if e := apierror.From(err); e.Category == apierror.Overloaded {
		err = job.Again(err)
	}
	return h.failed(ctx, &order{}, err)
}

// failed gives what a job has instead of a response: what the POST would have said.
func (h *Handler) failed(ctx context.Context, o *order, err error) (jsontext.Value, error) {
	protocol.Log(ctx, h.log, o.RequestID, err)
	told, writeErr := failureOf(apierror.From(err))
	if writeErr != nil {
		return nil, err
	}
	result, writeErr := json.Marshal(told)
	if writeErr != nil {
		return nil, err
	}
	return result, err
}

// serveRun gives an asynchronous request of the caller's.
func (h *Handler) serveRun(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	j, err := h.find(r, call, job.KindProcess)
	if err != nil {
		return err
	}
	u, err := runOf(j)
	switch {
	case err != nil || j.Result == nil:
	case u.Status == statusCompleted:
		u.Response = j.Result
	case u.Status == statusFailed:
		u.failure = failure{}
		err = json.Unmarshal(j.Result, &u.failure)
	}
	if err != nil {
		return err
	}
	return h.tell(w, call, &u)
}

func (h *Handler) tell(w http.ResponseWriter, call *gateway.Call, u *run) error {
	body, err := json.Marshal(u)
	if err != nil {
		return err
	}
	protocol.SetHeader(w.Header(), call)
	return protocol.WriteJSON(w, http.StatusOK, body)
}
