package processapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/trace"
)

// maxWaiting is how many asynchronous requests of a kind one key may have waiting.
const maxWaiting = 1_000

// maxWait is how long one may wait for its key's limits.
const maxWait = 24 * time.Hour

// The states of an asynchronous request.
const (
	statusRunning   = "running"
	statusCompleted = "completed"
	statusFailed    = "failed"
)

// Jobs keeps asynchronous requests: a job.Engine.
type Jobs interface {
	Submit(ctx context.Context, j job.Job) (job.Job, error)
	Job(ctx context.Context, keyID, id string) (job.Job, error)
	List(ctx context.Context, keyID string, filter job.Filter) ([]job.Job, error)
}

// Run is one attempt at a job: a job.Run.
type Run interface {
	Job() job.Job
	Note(ctx context.Context, progress jsontext.Value) error
}

// Callers finds who a key belongs to now: an apikey.Authenticator.
type Callers interface {
	// Caller gives an error for a key that isn't valid any more.
	Caller(ctx context.Context, keyID string) (*gateway.Caller, error)
}

// order is an asynchronous request, as its job keeps it.
type order struct {
	RequestID string `json:"request_id"`
	Address   string `json:"address,omitzero"`
	Prefer    string `json:"prefer,omitzero"`
	Body      []byte `json:"body"`
	// Trace is the span of the request that asked.
	Trace trace.Kept `json:"trace,omitzero"`
}

func orderOf(call *gateway.Call, body []byte) (jsontext.Value, error) {
	return json.Marshal(order{RequestID: call.RequestID, Address: call.Address, Prefer: call.Prefer, Body: body, Trace: call.Trace.Keep()})
}

// run is an asynchronous request as GET gives it.
type run struct {
	ID          string         `json:"id"`
	Status      string         `json:"status"`
	CreatedAt   time.Time      `json:"created_at"`
	CompletedAt time.Time      `json:"completed_at,omitzero"`
	Response    jsontext.Value `json:"response,omitzero"` // of the POST
	failure
}

// failure is what GET says of a request that failed, as the POST would have.
type failure struct {
	Detail string         `json:"detail,omitzero"`
	Error  jsontext.Value `json:"error,omitzero"`
}

func failureOf(e *apierror.Error) (told failure, err error) {
	err = json.Unmarshal(append(protocol.AppendFlatError([]byte{'{'}, e), '}'), &told)
	return told, err
}

// runOf gives what is known of a job, except its response.
func runOf(j *job.Job) (u run, err error) {
	u = run{ID: j.ID, Status: statusRunning, CreatedAt: j.Created.UTC(), CompletedAt: j.Ended.UTC()}
	if j.Ended.IsZero() {
		u.CompletedAt = time.Time{}
	}
	switch {
	case !j.State.Ended():
	case j.State == job.Completed:
		u.Status = statusCompleted
	default:
		u.Status = statusFailed
		e := &apierror.Error{Category: apierror.Category(j.Category), Message: j.Message}
		if j.Category == job.CategoryInterrupted {
			e = apierror.From(errStopped)
		}
		u.failure, err = failureOf(e)
	}
	return u, err
}

// submit queues a job of the call's key, with what is to be served.
func (h *Handler) submit(ctx context.Context, call *gateway.Call, j job.Job, body []byte) (job.Job, error) {
	waiting, err := h.options.Jobs.List(ctx, call.Caller.KeyID, job.Filter{Kind: j.Kind, State: job.Queued, Limit: maxWaiting})
	if err != nil {
		return j, err
	}
	if len(waiting) >= maxWaiting {
		return j, &apierror.Error{Category: apierror.RateLimited, Message: "too many asynchronous requests of the key wait already", RetryAfter: time.Minute}
	}
	if j.Request, err = orderOf(call, body); err != nil {
		return j, err
	}
	j.KeyID, j.ProjectID, j.Once = call.Caller.KeyID, call.Caller.ProjectID, call.Once
	return h.options.Jobs.Submit(ctx, j)
}

// accept answers 202.
func accept(w http.ResponseWriter, call *gateway.Call, path, id string) error {
	url := path + "/" + id
	protocol.SetHeader(w.Header(), call)
	w.Header().Set("Location", url)
	dst := protocol.AppendText([]byte(`{"id":`), id)
	dst = protocol.AppendText(append(dst, `,"status":`...), statusRunning)
	dst = protocol.AppendText(append(dst, `,"status_url":`...), url)
	return protocol.WriteJSON(w, http.StatusAccepted, append(dst, '}'))
}

// taken reads the order of a job, and makes the call that serves it.
func (h *Handler) taken(ctx context.Context, j *job.Job, endpoint string) (*gateway.Call, *order, error) {
	o := &order{}
	if err := json.Unmarshal(j.Request, o); err != nil {
		return nil, nil, err
	}
	caller, err := h.options.Callers.Caller(ctx, j.KeyID)
	if err != nil {
		return nil, nil, err
	}
	call := &gateway.Call{
		RequestID: o.RequestID, Endpoint: endpoint, Address: o.Address, Prefer: o.Prefer,
		Caller: caller, Strict: h.gateway.Strict, Trace: o.Trace.Later(), Clock: latency.Start(),
	}
	call.Clock.Mark(latency.Auth)
	return call, o, nil
}

// find gives an asynchronous request of the caller's.
func (h *Handler) find(r *http.Request, call *gateway.Call, kind job.Kind) (*job.Job, error) {
	j, err := h.options.Jobs.Job(r.Context(), call.Caller.KeyID, r.PathValue("id"))
	if err == nil && j.Kind != kind {
		err = job.ErrNotFound
	}
	switch {
	case errors.Is(err, job.ErrNotFound):
		return nil, notFound("id", "there is no such request, or its outcome isn't kept any more")
	case err != nil && r.Context().Err() != nil:
		return nil, gone(r.Context())
	case err != nil:
		return nil, err
	}
	return &j, nil
}

func newID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand's own promise
	return prefix + hex.EncodeToString(b[:])
}
