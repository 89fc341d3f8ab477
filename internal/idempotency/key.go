package idempotency

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strings"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// maxKey is how long an Idempotency-Key may be, in characters: Stripe's own limit
// (docs.stripe.com/api/idempotent_requests).
const maxKey = 255

// readKey reads the header. A key in quotation marks, as the IETF's draft has it
// (draft-ietf-httpapi-idempotency-key-header, a string of RFC 9651), is the same as
// without them. An error is an apierror.Error.
func readKey(h http.Header) (string, error) {
	const header = protocol.HeaderIdempotencyKey
	values := h[header]
	if len(values) != 1 {
		return "", apierror.Invalid(header, "%s: must be given once", header)
	}
	key, least := values[0], byte('!')
	if quoted, ok := strings.CutPrefix(key, `"`); ok {
		if key, ok = unquote(quoted); !ok {
			return "", apierror.Invalid(header, "%s: the quotation marks aren't those of a string", header)
		}
		least = ' '
	}
	if len(key) < 1 || len(key) > maxKey {
		return "", apierror.Invalid(header, "%s: must be 1 to %d visible ASCII characters", header, maxKey)
	}
	for i := range len(key) {
		if key[i] < least || key[i] > '~' {
			return "", apierror.Invalid(header, "%s: must be 1 to %d visible ASCII characters", header, maxKey)
		}
	}
	return key, nil
}

// unquote reads a string of RFC 9651 from behind its first quotation mark.
func unquote(rest string) (string, bool) {
	var text strings.Builder
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '"':
			return text.String(), i == len(rest)-1
		case '\\':
			i++
			if i == len(rest) || rest[i] != '"' && rest[i] != '\\' {
				return "", false
			}
		}
		text.WriteByte(rest[i])
	}
	return "", false
}

// fingerprint tells two requests apart.
type fingerprint [sha256.Size]byte

// fingerprintOf takes the fingerprint of a request: of all that decides what it is
// answered with.
func fingerprintOf(r *http.Request, body []byte) (sum fingerprint) {
	h := sha256.New()
	part := func(text string) {
		// Each with its length, so that no two rows of parts look alike.
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	part(r.Method)
	part(r.URL.Path)
	part(r.URL.RawQuery)
	for _, name := range [...]string{protocol.HeaderBackend, "Anthropic-Version", "Anthropic-Beta"} {
		part(strings.Join(r.Header[name], ","))
	}
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}
