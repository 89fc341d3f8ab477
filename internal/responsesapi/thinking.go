package responsesapi

import (
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/protocol"
)

// sealMark begins the encrypted_content of this service's reasoning items. What
// follows is a thinking block of the Messages API in base64. The upstream signs
// or encrypts it, so nothing here need be secret, and a made-up one is refused
// there.
const sealMark = "claude-thinking-1."

// sealThinking appends a thinking block as a JSON string.
func sealThinking(dst, block []byte) []byte {
	dst = append(append(dst, '"'), sealMark...)
	dst = base64.StdEncoding.AppendEncode(dst, block)
	return append(dst, '"')
}

// openThinking gives the thinking block of an encrypted_content; not ok for one
// that isn't of this service.
func openThinking(sealed jsontext.Value) (block []byte, ok bool) {
	encoded, ok := strings.CutPrefix(protocol.Unquote(sealed), sealMark)
	if !ok {
		return nil, false
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, false
	}
	// It came back by way of the caller: only these blocks may stand there.
	var kind, thinking, signature, redacted jsontext.Value
	s := protocol.NewScanner(data)
	err = s.Document(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			kind, err = s.Text()
		case "thinking":
			thinking, err = s.Text()
		case "signature":
			signature, err = s.Text()
		case "data":
			redacted, err = s.Text()
		default:
			err = s.Invalid(string(name), "isn't known")
		}
		return err
	})
	if err != nil {
		return nil, false
	}
	switch string(protocol.Inner(kind)) {
	case "thinking":
		ok = thinking != nil && len(protocol.Inner(signature)) > 0 && redacted == nil
	case "redacted_thinking":
		ok = redacted != nil && thinking == nil && signature == nil
	default:
		ok = false
	}
	return data, ok
}
