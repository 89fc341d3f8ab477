package processapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// translate writes the Messages request for a model with the given rules.
// sizeHint is the request's own size.
func (p *processRequest) translate(model string, rules *message.Rules, sizeHint int) (*message.Request, error) {
	words := p.words()
	off := ""
	switch {
	case p.tools.forces() && !rules.NoForcedTools:
		off = "is off where tool_choice forces a tool"
	case words.CallsTools() && !rules.TakesThinking(message.ThinkingAdaptive):
		// The API wants the thinking that led to the call, and these messages have no
		// place for it.
		off = "is off in an answer to tool results"
	}
	dst, err := appendModel(make([]byte, 0, sizeHint+256), model)
	if err != nil {
		return nil, err
	}
	output, err := p.format.Member(rules, words.AddSystem, p.warn)
	if err != nil {
		return nil, err
	}
	dst = p.appendGeneration(dst, rules, output, off, &p.warnings)
	if p.stream {
		dst = append(dst, `"stream":true,`...)
	}
	if dst, err = p.tools.append(dst, rules, &p.warnings); err != nil {
		return nil, err
	}
	if dst, err = appendWords(dst, words, p.media); err != nil {
		return nil, err
	}
	return message.ParseRequest(append(dst, '}'))
}

// appendModel begins a Messages request.
func appendModel(dst []byte, model string) ([]byte, error) {
	dst, err := jsontext.AppendQuote(append(dst, `{"model":`...), model)
	if err != nil {
		return nil, apierror.Invalid("model_name", "model_name: isn't valid text")
	}
	return append(dst, ','), nil
}
