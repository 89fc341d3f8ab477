package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// headerDashboard is what a page of our own sends with whatever changes something: no
// form and no other site's script can, without asking first.
const headerDashboard = "X-Claude-Dashboard"

// maxBody is the largest body of a request, in bytes: the longest are prompts of the
// playground.
const maxBody = 1 << 20

// administrator is who sent a request.
type administrator struct {
	KeyID string
	// Address is the network address of the client, without a port; RequestID is the
	// request's, as in the log.
	Address, RequestID string
	// session is the one whose cookie came; nil: a key did.
	session *session
	key     string // that came
}

// handlerFunc serves one request. What it returns is written by admin, so it must not
// have written anything itself by then.
type handlerFunc func(w http.ResponseWriter, r *http.Request, who *administrator) error

// admin makes a http.Handler of a handlerFunc, for those with an admin key or with a
// session that one has opened. The route is the path as metrics name it.
func (h *Handler) admin(route string, fn handlerFunc) http.Handler {
	return h.handle(route, fn, h.authenticate)
}

// anyone is admin for those who need neither yet.
func (h *Handler) anyone(route string, fn handlerFunc) http.Handler {
	return h.handle(route, fn, func(http.ResponseWriter, *http.Request, *administrator) (*gateway.Caller, error) { return nil, nil })
}

// handle is what both are. The caller beside an error of authenticate is whose key it was.
func (h *Handler) handle(
	route string, fn handlerFunc, authenticate func(w http.ResponseWriter, r *http.Request, who *administrator) (*gateway.Caller, error),
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clock := latency.Start()
		w.Header()["Cache-Control"] = []string{"no-store"}
		who := &administrator{Address: protocol.Address(r), RequestID: w.Header().Get(protocol.HeaderRequestID)}
		caller, err := authenticate(w, r, who)
		clock.Mark(latency.Auth)
		if who.KeyID != "" {
			protocol.Served(w, &gateway.Caller{KeyID: who.KeyID})
		}
		if err == nil {
			err = fn(w, r, who)
		}
		if err == nil {
			return
		}
		h.refused(route, who, caller, &clock, apierror.From(err))
		h.writeError(w, r, err)
	})
}

// refused tells of a key that was tried in vain.
func (h *Handler) refused(route string, who *administrator, caller *gateway.Caller, clock *latency.Clock, e *apierror.Error) {
	if who.key == "" || who.KeyID != "" || h.options.Observer == nil {
		return
	}
	clock.Finish()
	h.options.Observer.Observe(gateway.Entry{
		RequestID: who.RequestID, Time: clock.StartTime(), Endpoint: route, Address: who.Address, Caller: caller,
		Status: e.Status(), Category: string(e.Category), Refused: true, Clock: clock,
	})
}

// authenticate finds who sent a request: by its key, or else by its cookie.
func (h *Handler) authenticate(w http.ResponseWriter, r *http.Request, who *administrator) (*gateway.Caller, error) {
	if who.key = protocol.PresentedKey(r.Header); who.key != "" {
		return h.byKey(r.Context(), who)
	}
	if h.options.Sessions {
		if err := h.bySession(w, r, who); err != nil || who.session != nil {
			return nil, err
		}
	}
	return nil, &apierror.Error{
		Category: apierror.AuthError, Code: apierror.CodeInvalidKey, Message: "missing admin key: send x-api-key or Authorization: Bearer",
	}
}

// byKey takes the key that was presented, if it administers the service.
func (h *Handler) byKey(ctx context.Context, who *administrator) (*gateway.Caller, error) {
	caller, err := h.options.Authenticator.Authenticate(ctx, who.key, who.Address)
	if err != nil {
		return caller, err
	}
	if !caller.Admin {
		return caller, apierror.New(apierror.Permission, "this is a caller's key: an admin key is needed here (claude-api keys create --project-id operations --admin)")
	}
	who.KeyID = caller.KeyID
	return caller, nil
}

// writeError writes an error in the envelope of the former service's family.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, err error) {
	status := 0
	switch apierror.From(err).Code {
	case codeConflict, task.CodeAnswered, task.CodeEnded:
		status = http.StatusConflict
	}
	protocol.WriteFlatError(w, r, h.log, status, err)
}

// codeConflict is for what can't be done as things stand: it is answered with 409.
const codeConflict apierror.Code = "conflict"

// notFound says that there is no such thing as the request names in a place.
func notFound(param, format string, args ...any) error {
	return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: param, Message: fmt.Sprintf(format, args...)}
}

// write answers with a value as JSON.
func write(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	_ = protocol.WriteJSON(w, status, append(body, '\n')) // a caller who left isn't told
	return nil
}

// read decodes a request's body, which must be a JSON object of value's members and no
// others. An error names the member at fault.
func read(w http.ResponseWriter, r *http.Request, value any) error {
	return readUpTo(w, r, maxBody, value)
}

// readUpTo is read of a body of at most so many bytes.
func readUpTo(w http.ResponseWriter, r *http.Request, most int64, value any) error {
	body, err := protocol.ReadBody(w, r, most)
	if err != nil {
		return err
	}
	err = json.Unmarshal(body, value, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	invalid := apierror.Wrap(apierror.BadRequest, "the body isn't a JSON object", err)
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		if name := memberAt(semantic.JSONPointer); name != "" {
			invalid.Param, invalid.Message = name, name+": there is no such member"
			if !errors.Is(err, json.ErrUnknownName) {
				invalid.Message = name + ": wrong type"
			}
		}
	}
	return invalid
}

// memberAt writes a place in a document as errors name it: budgets.0.period.
func memberAt(p jsontext.Pointer) string {
	var names []string
	for name := range p.Tokens() {
		names = append(names, name)
	}
	return strings.Join(names, ".")
}

// note writes into the audit log what an administrator does.
func (h *Handler) note(ctx context.Context, who *administrator, e audit.Event) error {
	e.Time, e.Actor, e.Address, e.RequestID = time.Now(), who.KeyID, who.Address, who.RequestID
	return audit.Write(ctx, h.options.Audit, e)
}

// failure documents an error's answer.
func failure(status int, description string) openapi.Response {
	return openapi.Response{Status: status, Description: description, Schema: openapi.Members("AdminError", "", protocol.FlatError(openapi.Always)...)}
}

// answers are what an endpoint answers: on success with a body of the schema, nil for
// none, and what every one answers besides.
func answers(status int, description string, schema *openapi.Schema, more ...openapi.Response) []openapi.Response {
	return append([]openapi.Response{
		{Status: status, Description: description, Schema: schema},
		failure(http.StatusBadRequest, "The request is at fault: error.param names the member."),
		failure(http.StatusUnauthorized, "No admin key came that is taken, nor the cookie of a session."),
		failure(http.StatusForbidden, "A caller's key came, or the page of another site has sent the request."),
		failure(http.StatusNotFound, "There is no such thing."),
		failure(http.StatusTooManyRequests, "Too many keys that aren't valid came from this address."),
		failure(http.StatusServiceUnavailable, "The database doesn't answer."),
	}, more...)
}
