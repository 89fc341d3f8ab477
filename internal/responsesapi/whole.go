package responsesapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// errKind says that a backend answered a stream with a whole message, or the
// other way round.
var errKind = errors.New("the backend answered in the wrong form")

// keepFunc keeps a response that has come to its end, given as the JSON that the
// caller gets. It returns when it is kept.
type keepFunc func(r *response, object []byte) error

// wholeWriter translates a whole answer.
type wholeWriter struct {
	call     *gateway.Call
	w        http.ResponseWriter
	scanners *protocol.Scanners
	response *response
	keep     keepFunc
	now      func() time.Time
	read     bool
	sent     bool
}

// Event implements gateway.EventWriter.
func (p *wholeWriter) Event(message.Event) error { return errKind }

// Flush implements gateway.EventWriter.
func (p *wholeWriter) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (p *wholeWriter) Message(body []byte) error {
	s := p.scanners.Get(body)
	defer p.scanners.Put(s)
	if err := p.response.readMessage(s); err != nil {
		return apierror.Wrap(apierror.UpstreamError, "the upstream's answer couldn't be read", err)
	}
	p.read = true
	return nil
}

// readMessage reads a whole answer of the Messages API.
func (r *response) readMessage(s *protocol.Scanner) error {
	return s.Document(func(name []byte) (err error) {
		switch string(name) {
		case "model":
			value, err := s.Text()
			r.model = protocol.Unquote(value)
			return err
		case "content":
			return s.Array(func(int) error {
				var b blockFields
				err := s.Object(func(name []byte) error { return b.read(s, name) })
				if it, ok := b.item(); ok && err == nil {
					if r.unfence && it.kind == kindMessage {
						it.text = unfenced(b.text)
					}
					r.add(it)
				}
				return err
			})
		case "usage":
			return r.details.Read(s)
		case "stop_details":
			r.refusal, err = protocol.ReadRefusal(s)
			return err
		}
		return s.Skip()
	})
}

// unfenced gives the inside of a JSON string without a code fence around its text.
func unfenced(quoted jsontext.Value) []byte {
	var f protocol.Fence
	text := f.Write(nil, []byte(protocol.Unquote(quoted)))
	return protocol.Inner(protocol.AppendText(nil, string(f.Close(text))))
}

// End implements gateway.EventWriter: it keeps the response before it leaves.
func (p *wholeWriter) End(result gateway.Result) error {
	if !p.read {
		return errKind
	}
	state := p.response.ended(result, p.now().Unix())
	body := p.response.append(make([]byte, 0, 4_096), state)
	if err := p.keep(p.response, body); err != nil {
		return err
	}
	p.sent = true
	p.call.Clock.Finish()
	protocol.SetOpenAIHeader(p.w.Header(), p.call)
	return protocol.WriteJSON(p.w, http.StatusOK, body)
}

func (p *wholeWriter) started() bool { return p.sent }

// fail does nothing: an answer of a stated length can't be taken back.
func (p *wholeWriter) fail(*apierror.Error) {}

// keepTimeout bounds the keeping of a response whose caller waits for its end.
const keepTimeout = 10 * time.Second

// keeping gives the context for keeping a response: what was generated is kept
// though the caller has left.
func keeping(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
}
