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
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// archiveKind is what the archive calls these documents.
const archiveKind = "process"

// putTimeout bounds the writing of an outcome, which doesn't end with its
// request.
const putTimeout = 5 * time.Second

// The states of an asynchronous request.
const (
	statusRunning   = "running"
	statusCompleted = "completed"
	statusFailed    = "failed"
)

// run is an asynchronous request, as the archive keeps it and GET gives it.
type run struct {
	ID          string         `json:"id"`
	Status      string         `json:"status"`
	CreatedAt   time.Time      `json:"created_at"`
	CompletedAt time.Time      `json:"completed_at,omitzero"`
	Response    jsontext.Value `json:"response,omitzero"` // of POST /v1/process
	Detail      string         `json:"detail,omitzero"`
	Error       jsontext.Value `json:"error,omitzero"`
}

// fail makes the run a failed one.
func (u *run) fail(e *apierror.Error) error {
	var told struct {
		Detail string         `json:"detail"`
		Error  jsontext.Value `json:"error"`
	}
	if err := json.Unmarshal(append(protocol.AppendFlatError([]byte{'{'}, e), '}'), &told); err != nil {
		return err
	}
	u.Status, u.Detail, u.Error = statusFailed, told.Detail, told.Error
	return nil
}

// asyncWriter keeps the answer for the archive.
type asyncWriter struct {
	whole
	body []byte
}

// End implements gateway.EventWriter.
func (a *asyncWriter) End(result gateway.Result) (err error) {
	a.body, err = a.document(result)
	return err
}

// serveAsync starts a request that outlives its caller's connection. It answers
// when the request has been admitted and routed, so that a refusal has its own
// status, and what the 202 names can be asked for.
func (h *Handler) serveAsync(w http.ResponseWriter, r *http.Request, call *gateway.Call, request *processRequest, asked asked) error {
	u := &run{ID: newRunID(), Status: statusRunning, CreatedAt: h.options.Now().UTC()}
	ctx, done, err := h.runs.begin(r.Context(), u.ID, h.options.AsyncTimeout)
	if err != nil {
		return err
	}
	admitted, kept := make(chan http.Header, 1), false
	// The header is made there, because the call belongs to the goroutine that
	// serves it.
	call.Admitted = func() error {
		if err := h.keep(ctx, call.Caller, u); err != nil {
			return err
		}
		kept = true
		header := http.Header{}
		protocol.SetHeader(header, call)
		admitted <- header
		return nil
	}
	refused := make(chan error, 1)
	go func() {
		defer done()
		deadline, cancel := withTimeout(ctx, request.timeout)
		defer cancel()
		out := &asyncWriter{whole: whole{call: call, asked: asked, scanners: &h.scanners}}
		err := h.serveApart(deadline, call, out)
		if out.body == nil && err == nil {
			err = protocol.ErrForm
		}
		refused <- err
		if kept {
			h.finish(ctx, call, *u, out.body, err)
		}
	}()
	select {
	case header := <-admitted:
		return h.accept(w, header, u.ID)
	case err := <-refused:
		select {
		case header := <-admitted: // it ended at once
			return h.accept(w, header, u.ID)
		default:
			return err
		}
	}
}

// accept answers 202.
func (h *Handler) accept(w http.ResponseWriter, header http.Header, id string) error {
	url := pathProcess + "/" + id
	for name, values := range header {
		w.Header()[name] = values
	}
	w.Header().Set("Location", url)
	dst := protocol.AppendText([]byte(`{"id":`), id)
	dst = protocol.AppendText(append(dst, `,"status":`...), statusRunning)
	dst = protocol.AppendText(append(dst, `,"status_url":`...), url)
	return protocol.WriteJSON(w, http.StatusAccepted, append(dst, '}'))
}

// finish keeps the outcome of a run.
func (h *Handler) finish(ctx context.Context, call *gateway.Call, u run, body []byte, err error) {
	u.CompletedAt = h.options.Now().UTC()
	u.Status, u.Response = statusCompleted, body
	if err != nil {
		u.Response = nil
		protocol.Log(ctx, h.log, call.RequestID, err)
		err = u.fail(apierror.From(err))
	}
	if err == nil {
		err = h.keep(ctx, call.Caller, &u)
	}
	if err != nil {
		// GET says failed then, because the run isn't under way any more.
		protocol.Log(ctx, h.log, call.RequestID, err)
	}
}

// keep writes a run to the archive. It doesn't end with ctx.
func (h *Handler) keep(ctx context.Context, caller *gateway.Caller, u *run) error {
	body, err := json.Marshal(u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putTimeout)
	defer cancel()
	return h.options.Archive.Put(ctx, archiveKind, caller.KeyID, u.ID, h.options.AsyncTTL, body)
}

// serveRun gives an asynchronous request of the caller's.
func (h *Handler) serveRun(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	id := r.PathValue("id")
	// Asked before the document is read: a run leaves when its outcome is kept.
	live := h.runs.has(id)
	document, err := h.options.Archive.Get(r.Context(), archiveKind, call.Caller.KeyID, id)
	if errors.Is(err, archive.ErrNotFound) {
		return notFound("id", "there is no such request, or its outcome isn't kept any more")
	}
	if err != nil {
		if r.Context().Err() != nil {
			return gone(r.Context())
		}
		return err
	}
	body := document.Body
	if !live {
		if body, err = ended(body); err != nil {
			return err
		}
	}
	protocol.SetHeader(w.Header(), call)
	return protocol.WriteJSON(w, http.StatusOK, body)
}

// ended gives the document of a run that isn't under way: one that says that it
// is was ended together with the service.
func ended(body []byte) ([]byte, error) {
	var u run
	if err := json.Unmarshal(body, &u); err != nil {
		return nil, err
	}
	if u.Status != statusRunning {
		return body, nil
	}
	if err := u.fail(errStopped()); err != nil {
		return nil, err
	}
	return json.Marshal(&u)
}

func newRunID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand's own promise
	return "proc_" + hex.EncodeToString(b[:])
}
