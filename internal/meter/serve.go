package meter

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// requestID is the header from which the protocols take a request's id.
const requestID = "X-Request-Id"

// serve hands a call to the run whose token it presents. Nothing else is served but
// the HEAD by which some versions of the CLI see whether anybody is there.
func (m *Meter) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		return
	}
	a := m.account(presented(r.Header))
	if a == nil {
		refuse(w, "this address serves agentic runs of the service alone")
		return
	}
	run := a.present()
	if run == nil {
		refuse(w, "no run has begun")
		return
	}
	id, ok := run.enter()
	if !ok {
		refuse(w, "the run has ended")
		return
	}
	defer run.open.Done()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(run.ctx, func() {
		cancel(context.Cause(run.ctx))
		// A process that has stopped reading, or sending, must not hold up the end.
		connection := http.NewResponseController(w)
		_ = connection.SetReadDeadline(time.Now())
		_ = connection.SetWriteDeadline(time.Now())
	})
	defer stop()
	if m.options.Login {
		ctx = context.WithValue(ctx, login{}, ofLogin(r.Header))
	}
	w.Header()[requestID] = []string{id}
	run.handler.ServeHTTP(w, r.WithContext(ctx))
}

// ofLogin gives what of a header the upstream is to see of who has logged in: the
// credential and the program that it was given to.
func ofLogin(h http.Header) http.Header {
	own := http.Header{}
	for _, name := range [...]string{"Authorization", "User-Agent", "X-App"} {
		if values := h[name]; values != nil {
			own[name] = values
		}
	}
	return own
}

// presented finds the token.
func presented(h http.Header) string {
	if token := h.Get(HeaderRun); token != "" {
		return token
	}
	if token := h.Get("X-Api-Key"); token != "" {
		return token
	}
	token, _ := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	return token
}

// refuse answers as the Messages API refuses a credential: the CLI doesn't try again.
func refuse(w http.ResponseWriter, why string) {
	body, _ := jsontext.AppendQuote([]byte(`{"type":"error","error":{"type":"authentication_error","message":`), why) // our own text is valid
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Should-Retry", "false")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, string(body)+`}}`) // who has left isn't told
}
