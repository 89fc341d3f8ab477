package processapi

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// outcome is what became of one prompt.
type outcome struct {
	answer answer
	result gateway.Result
	err    *apierror.Error // nil where it succeeded
	paid   bool            // it has cost something, or may have
}

// promptWriter keeps an answer for the batch.
type promptWriter struct {
	whole
	result gateway.Result
}

// End implements gateway.EventWriter.
func (p *promptWriter) End(result gateway.Result) error {
	if !p.answered {
		return protocol.ErrForm
	}
	p.result = result
	return nil
}

// results are those of a batch so far, as a job keeps them too.
type results struct {
	Total   int      `json:"total"`
	Prompts []result `json:"prompts"`
}

// result is what a batch tells of one prompt.
type result struct {
	Place  int            `json:"place"` // in the batch, from 0
	Failed bool           `json:"failed,omitzero"`
	Tokens int64          `json:"tokens,omitzero"`
	Cost   int64          `json:"cost,omitzero"` // in millionths of a US dollar; 0 where it isn't known
	Told   jsontext.Value `json:"told"`
}

func resultOf(i int, p prompt, o outcome) result {
	r := result{Place: i, Failed: o.err != nil}
	dst := []byte(`{"id":`)
	if p.id != nil {
		dst = append(dst, p.id...)
	} else {
		dst = append(strconv.AppendInt(append(dst, '"'), int64(i), 10), '"')
	}
	dst = append(append(dst, `,"prompt":`...), p.text...)
	if r.Failed {
		dst = append(dst, `,"status":"failed","content":null,"usage":null,"cost":null,"error":`...)
		r.Told = append(protocol.AppendText(dst, o.err.Message), '}')
		return r
	}
	r.Tokens = o.result.Usage.Total()
	if c := o.result.CostMicroUSD; c != nil {
		r.Cost = *c
	}
	dst = append(append(append(dst, `,"status":"completed","content":"`...), o.answer.text...), '"')
	dst = appendUsage(append(dst, `,"usage":`...), o.result.Usage)
	r.Told = append(appendCost(append(dst, `,"cost":`...), o.result.CostMicroUSD), `,"error":null}`...)
	return r
}

// append appends the answer to a batch.
func (r *results) append(dst []byte) []byte {
	var completed int
	var cost, tokens int64
	for _, p := range r.Prompts {
		if !p.Failed {
			completed++
		}
		tokens += p.Tokens
		cost += p.Cost
	}
	dst = strconv.AppendInt(append(dst, `{"total":`...), int64(r.Total), 10)
	dst = strconv.AppendInt(append(dst, `,"completed":`...), int64(completed), 10)
	dst = strconv.AppendInt(append(dst, `,"failed":`...), int64(len(r.Prompts)-completed), 10)
	dst = append(dst, `,"results":[`...)
	for i, p := range r.Prompts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, p.Told...)
	}
	dst = appendCost(append(dst, `],"total_cost":`...), &cost)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), tokens, 10)
	return append(dst, '}')
}
