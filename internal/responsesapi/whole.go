package responsesapi

import (
	"net/http"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// wholeWriter translates a whole answer.
type wholeWriter struct {
	call     *gateway.Call
	w        http.ResponseWriter
	scanners *protocol.Scanners
	response *response
	keeper   keeper
	now      func() time.Time
	read     bool
	sent     bool
}

// Event implements gateway.EventWriter.
func (p *wholeWriter) Event(message.Event) error { return protocol.ErrForm }

// Flush implements gateway.EventWriter.
func (p *wholeWriter) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (p *wholeWriter) Message(body []byte) error {
	s := p.scanners.Get(body)
	defer p.scanners.Put(s)
	answer, err := protocol.ReadAnswer(s, p.response.addBlock)
	if err != nil {
		return err
	}
	p.response.model, p.response.details, p.response.refusal = answer.Model, answer.Details, answer.Refusal
	p.read = true
	return nil
}

// addBlock adds the item of a whole block.
func (r *response) addBlock(b *protocol.Block) {
	if it, ok := newItem(b); ok {
		if r.unfence && it.kind == kindMessage {
			it.text = protocol.Unfence(it.text)
		}
		r.add(it)
	}
}

// End implements gateway.EventWriter: it keeps the response before it leaves.
func (p *wholeWriter) End(result gateway.Result) error {
	if !p.read {
		return protocol.ErrForm
	}
	state := p.response.ended(&result, p.now().Unix())
	body := p.response.append(make([]byte, 0, 4_096), state)
	if err := p.keeper.keep(p.response, body); err != nil {
		return err
	}
	p.sent = true
	p.call.Clock.Finish()
	protocol.SetOpenAIHeader(p.w.Header(), p.call)
	return protocol.WriteJSON(p.w, http.StatusOK, body)
}

// Started implements protocol.Encoder.
func (p *wholeWriter) Started() bool { return p.sent }

// Fail implements protocol.Encoder. It does nothing: an answer of a stated length
// can't be taken back.
func (p *wholeWriter) Fail(*apierror.Error) {}
