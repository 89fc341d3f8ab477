package message

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Upstream gives the body to send to the Messages API, in pieces that share
// memory with the request: the model is replaced by the given one (added when
// the request names none), max_tokens is lowered to the given one unless that is
// 0, and the service's own members are left out. Where nothing differs it is the
// one piece that came in.
func (r *Request) Upstream(model string, maxTokens int64) [][]byte {
	return splice(r.body, r.edits(model, maxTokens))
}

// cacheControl marks the end of a prefix that the upstream should cache, with
// the default lifetime of five minutes.
const cacheControl = `"cache_control":{"type":"ephemeral"}`

// UpstreamCached is Upstream with prompt caching asked for: a cache_control
// marker on the last block of the system prompt, and one for the request, which
// the API itself puts on the last block that can be cached
// (anthropic-sdk-go v1.84.0, MessageNewParams.CacheControl: "Top-level cache
// control automatically applies a cache_control marker to the last cacheable
// block in the request"). A request that holds a cache_control of its own is
// left alone: its author has chosen, and the API accepts four markers at most.
func (r *Request) UpstreamCached(model string, maxTokens int64) [][]byte {
	edits := r.edits(model, maxTokens)
	if !bytes.Contains(r.body, []byte(`"cache_control"`)) {
		open := bytes.IndexByte(r.body, '{') + 1
		edits = append(edits, edit{span{open, open}, []byte(cacheControl + ",")})
		edits = append(edits, r.systemEdits()...)
	}
	return splice(r.body, edits)
}

// systemEdits put the marker on the last block of the system prompt. A string
// becomes the block of text that it stands for. An empty prompt can't carry a
// marker, and one of the wrong type is the upstream's to refuse.
func (r *Request) systemEdits() []edit {
	value := jsontext.Value(r.system.of(r.body))
	if len(value) == 0 {
		return nil
	}
	start, end := r.system.start, r.system.end
	switch value.Kind() {
	case '"':
		if len(value) == len(`""`) {
			return nil
		}
		return []edit{
			{span{start, start}, []byte(`[{"type":"text","text":`)},
			{span{end, end}, []byte(`,` + cacheControl + `}]`)},
		}
	case '[':
		blocks := bytes.TrimRight(value[:len(value)-1], " \t\r\n")
		if !bytes.HasSuffix(blocks, []byte("}")) {
			return nil
		}
		last := len(blocks) - 1
		if bytes.HasSuffix(bytes.TrimRight(blocks[:last], " \t\r\n"), []byte("{")) {
			return nil
		}
		return []edit{{span{start + last, start + last}, []byte("," + cacheControl)}}
	}
	return nil
}

// edit puts other bytes in the place of a span.
type edit struct {
	at   span
	with []byte
}

func (r *Request) edits(model string, maxTokens int64) []edit {
	var edits []edit
	if maxTokens > 0 && !r.maxTokens.empty() && maxTokens < r.MaxTokens {
		edits = append(edits, edit{r.maxTokens, strconv.AppendInt(nil, maxTokens, 10)})
	}
	if r.model.empty() {
		open := bytes.IndexByte(r.body, '{') + 1
		edits = append(edits, edit{span{open, open}, []byte(`"model":` + quote(model) + `,`)})
	} else if model != r.Model {
		edits = append(edits, edit{r.model, []byte(quote(model))})
	}
	if !r.useCLI.empty() {
		edits = append(edits, edit{r.useCLI, nil})
	}
	return edits
}

// splice applies edits that don't overlap, in pieces that share memory with
// body. Insertions at one place keep their order and come before what is
// replaced or left out there.
func splice(body []byte, edits []edit) [][]byte {
	if len(edits) == 0 {
		return [][]byte{body}
	}
	slices.SortStableFunc(edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.at.start, b.at.start), cmp.Compare(a.at.end, b.at.end))
	})
	pieces := make([][]byte, 0, 2*len(edits)+1)
	at := 0
	for _, e := range edits {
		if e.at.start > at {
			pieces = append(pieces, body[at:e.at.start])
		}
		if len(e.with) > 0 {
			pieces = append(pieces, e.with)
		}
		at = e.at.end
	}
	return append(pieces, body[at:])
}
