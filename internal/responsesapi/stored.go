package responsesapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// The pages of input items, as at OpenAI.
const (
	defaultPage = 20
	maxPage     = 100
)

// found gives the response that the path names.
func (h *Handler) found(r *http.Request, call *gateway.Call) (*kept, string, error) {
	id := r.PathValue("id")
	k, err := h.get(r.Context(), call, id)
	if errors.Is(err, archive.ErrNotFound) {
		err = notFound(id)
	}
	return k, id, err
}

func notFound(id string) error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeNotFound, Message: fmt.Sprintf("Response with id '%s' not found.", id),
	}
}

func (h *Handler) serveGet(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	if stream := r.URL.Query().Get("stream"); stream != "" && stream != "false" {
		return apierror.Invalid("stream", "stream: a kept response can't be streamed")
	}
	k, _, err := h.found(r, call)
	if err != nil {
		return err
	}
	return protocol.WriteJSON(w, http.StatusOK, k.response)
}

func (h *Handler) serveDelete(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	id := r.PathValue("id")
	err := h.archive.Delete(r.Context(), kind, call.Caller.KeyID, id)
	if errors.Is(err, archive.ErrNotFound) {
		return notFound(id)
	}
	if err != nil {
		return failure(r.Context(), err)
	}
	body := protocol.AppendText([]byte(`{"id":`), id)
	return protocol.WriteJSON(w, http.StatusOK, append(body, `,"object":"response","deleted":true}`...))
}

// serveCancel refuses: responses in the background are the only ones that could
// be cancelled, and there are none.
func (h *Handler) serveCancel(_ http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	if _, _, err := h.found(r, call); err != nil {
		return err
	}
	return apierror.New(apierror.BadRequest, "Cannot cancel a synchronous response.")
}

// serveInputItems lists the items that a response was generated from: the whole
// conversation before it, the latest first unless it is asked for otherwise.
func (h *Handler) serveInputItems(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	query := r.URL.Query()
	limit := defaultPage
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return apierror.Invalid("limit", "limit: must be a whole number from 1 to %d", maxPage)
		}
		limit = n
	}
	order := query.Get("order")
	if order != "" && order != "asc" && order != "desc" {
		return apierror.Invalid("order", "order: must be asc or desc")
	}
	k, _, err := h.found(r, call)
	if err != nil {
		return err
	}
	items := k.reader.items[:k.inputs]
	if order != "asc" {
		slices.Reverse(items)
	}
	if after := query.Get("after"); after != "" {
		i := slices.IndexFunc(items, func(it item) bool { return it.id == after })
		if i < 0 {
			return apierror.Invalid("after", "after: there is no item %s", after)
		}
		items = items[i+1:]
	}
	return protocol.WriteJSON(w, http.StatusOK, appendList(nil, items, limit))
}

// appendList appends a page of items.
func appendList(dst []byte, items []item, limit int) []byte {
	more := len(items) > limit
	items = items[:min(limit, len(items))]
	dst = append(dst, `{"object":"list","data":[`...)
	for i := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, items[i].raw...)
	}
	first, last := "", ""
	if len(items) > 0 {
		first, last = items[0].id, items[len(items)-1].id
	}
	dst = protocol.AppendTextOrNull(append(dst, `],"first_id":`...), first)
	dst = protocol.AppendTextOrNull(append(dst, `,"last_id":`...), last)
	return append(strconv.AppendBool(append(dst, `,"has_more":`...), more), '}')
}

// serveInputTokens answers how many input tokens a request has. It takes what
// creating a response takes.
func (h *Handler) serveInputTokens(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	call.CountOnly = true
	if _, err := h.prepare(w, r, call); err != nil {
		return err
	}
	return h.gateway.Serve(r.Context(), call, &countWriter{call: call, w: w, scanners: &h.scanners})
}

// countWriter translates a count of tokens.
type countWriter struct {
	call     *gateway.Call
	w        http.ResponseWriter
	scanners *protocol.Scanners
	tokens   int64
	read     bool
}

// Event implements gateway.EventWriter.
func (c *countWriter) Event(message.Event) error { return protocol.ErrForm }

// Flush implements gateway.EventWriter.
func (c *countWriter) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (c *countWriter) Message(body []byte) error {
	s := c.scanners.Get(body)
	defer c.scanners.Put(s)
	err := s.Document(func(name []byte) (err error) {
		if string(name) == "input_tokens" {
			c.tokens, err = s.Count(0)
			c.read = true
			return err
		}
		return s.Skip()
	})
	if err != nil {
		return apierror.Wrap(apierror.UpstreamError, "the upstream's answer couldn't be read", err)
	}
	return nil
}

// End implements gateway.EventWriter.
func (c *countWriter) End(gateway.Result) error {
	if !c.read {
		return protocol.ErrForm
	}
	c.call.Clock.Finish()
	protocol.SetOpenAIHeader(c.w.Header(), c.call)
	body := strconv.AppendInt([]byte(`{"object":"response.input_tokens","input_tokens":`), c.tokens, 10)
	return protocol.WriteJSON(c.w, http.StatusOK, append(body, '}'))
}
