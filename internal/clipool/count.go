package clipool

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// dataTokens stands for an image or a document, whose bytes say nothing about
// its tokens: about what the largest image costs that isn't scaled down
// (platform.claude.com/docs, "Vision").
const dataTokens = 1_600

// count answers a call that only counts. The CLI can't count without sending
// the request to a model, so this is an estimate from the request's bytes, of
// the order of the truth and no better; the caller is warned.
func (p *Pool) count(call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	call.Warn("count_tokens is an estimate on the CLI backend")
	if err := call.Honoured(); err != nil {
		return gateway.Result{}, err
	}
	if _, err := call.Request.Conversation(); err != nil {
		return gateway.Result{}, err
	}
	tokens, err := estimate(call.Request.Body())
	if err != nil {
		return gateway.Result{}, err
	}
	body := strconv.AppendInt([]byte(`{"input_tokens":`), tokens, 10)
	return gateway.Result{CostMicroUSD: new(int64)}, out.Message(append(body, '}'))
}

// estimate gives the tokens of a request's names and texts, and a flat number
// for what is binary: the members named data.
func estimate(body []byte) (int64, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	var size, flat int64
	data := false // the value of a member named data comes next
	for dec.StackDepth() > 0 || dec.InputOffset() == 0 {
		kind, length := dec.StackIndex(dec.StackDepth())
		isName := kind == '{' && length%2 == 0
		tok, err := dec.ReadToken()
		if err != nil {
			return 0, message.InvalidJSON(err)
		}
		if tok.Kind() != '"' {
			data = false
			continue
		}
		text := tok.String()
		switch {
		case data && !isName:
			flat += dataTokens
		default:
			size += int64(len(text))
		}
		data = isName && text == "data"
	}
	return max(1, message.EstimateTokens(size)+flat), nil
}
