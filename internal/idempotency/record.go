package idempotency

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// record is what an archive's document says of a request: this as JSON, a line
// feed, and the answer's body as it was sent.
type record struct {
	Fingerprint string      `json:"fingerprint"` // in hexadecimal
	Status      int         `json:"status,omitzero"`
	Header      http.Header `json:"header,omitzero"`
	// TooLarge says that the answer was, or that its owner had too many large ones, and
	// that it isn't here.
	TooLarge bool `json:"too_large,omitzero"`
}

// encode writes a document.
func (r *record) encode(body []byte) ([]byte, error) {
	// What a header holds needn't be UTF-8.
	head, err := json.Marshal(r, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, fmt.Errorf("write a kept answer: %w", err)
	}
	return append(append(head, '\n'), body...), nil
}

// decode reads a document. The body shares memory with it.
func decode(document []byte) (r record, body []byte, err error) {
	head, body, found := bytes.Cut(document, []byte{'\n'})
	if !found {
		return r, nil, errors.New("read a kept answer: it has no end of its head")
	}
	if err := json.Unmarshal(head, &r, jsontext.AllowInvalidUTF8(true)); err != nil {
		return r, nil, fmt.Errorf("read a kept answer: %w", err)
	}
	return r, body, nil
}

// answer gives the answer again to the request with this fingerprint. An error is
// an apierror.Error; nothing is written then.
func (r *record) answer(w http.ResponseWriter, sum fingerprint, body []byte) error {
	switch {
	case r.Fingerprint != hex.EncodeToString(sum[:]):
		return errMismatch()
	case r.TooLarge:
		return &apierror.Error{
			Category: apierror.BadRequest, Code: apierror.CodeIdempotencyTooLarge, Param: protocol.HeaderIdempotencyKey,
			Message: protocol.HeaderIdempotencyKey + ": the request was answered, but the answer was too large to be kept, or too many large ones were kept already",
		}
	}
	h := w.Header()
	for name, values := range r.Header {
		h[name] = values
	}
	h[protocol.HeaderReplayed] = []string{"true"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if r.Status >= http.StatusBadRequest {
		h[protocol.HeaderShouldRetry] = []string{"false"} // it would be the same again
	}
	w.WriteHeader(r.Status)
	_, _ = w.Write(body) // a caller who left isn't told
	return nil
}

// keptHeader picks what of an answer's header is given again: not what belongs to
// its connection, to its moment, or to another try.
func keptHeader(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		switch name {
		case "Connection", "Content-Length", "Date", "Trailer", "Transfer-Encoding",
			protocol.HeaderServerTiming, protocol.HeaderRetryAfter, "Retry-After-Ms", protocol.HeaderShouldRetry:
			continue
		}
		if strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-") {
			continue
		}
		kept[name] = append([]string(nil), values...)
	}
	return kept
}

func errMismatch() error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeIdempotencyMismatch, Param: protocol.HeaderIdempotencyKey,
		Message: protocol.HeaderIdempotencyKey + ": it stands for another request; a new request needs a new one",
	}
}
