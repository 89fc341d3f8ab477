package message

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What a reservation needs to know of a request: each may say too much, never too
// little, because a caller may choose what to say.

// Elsewhere says what of the input isn't in the request as text: how many images, in
// it or fetched by the upstream, and whether there may be more than that, by PDF
// documents, by documents or files that the upstream fetches, by tools that it runs,
// or by a conversation that it holds. A picture of one colour, and pages without end, need hardly a byte. It looks
// for names and may count too much, never too little.
func (r *Request) Elsewhere() (images int, unbounded bool) {
	urls := bytes.Count(r.body, []byte(`"url"`))
	// Every block whose data is in the request names their type.
	inside := bytes.Count(r.body, []byte(`"media_type"`))
	documents := urls+inside > 0 && bytes.Contains(r.body, []byte(`"document"`))
	unbounded = bytes.Contains(r.body, []byte(`"file_id"`)) ||
		documents && (urls > 0 || bytes.Contains(r.body, []byte(`pdf"`))) ||
		slices.ContainsFunc(r.others, func(name string) bool { return !slices.Contains(addsNothing[:], name) }) ||
		r.HasServerTools() || escapesLetters(r.body)
	return urls + inside, unbounded
}

// addsNothing are the members, of those that the service itself doesn't read, which
// add no input. Others (mcp_servers, container, thread, and what will come) may.
var addsNothing = [...]string{
	"cache_control", "context_management", "inference_geo", "metadata", "output_format", "service_tier", "speed",
	"stop_sequences", "temperature", "top_k", "top_p",
}

// escapesLetters says that a body writes a letter or an underscore, which need no
// escape, as one (\u0075 for u), so that names in it can't be looked for. No encoder
// does that.
func escapesLetters(body []byte) bool {
	begin := []byte(`\u00`)
	for {
		at := bytes.Index(body, begin)
		if at < 0 || at+6 > len(body) {
			return false
		}
		// Behind a backslash that is escaped itself it is text.
		text := (at-len(bytes.TrimRight(body[:at], `\`)))%2 == 1
		c, err := strconv.ParseUint(string(body[at+4:at+6]), 16, 8)
		if !text && err == nil && (c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z') {
			return true
		}
		body = body[at+len(begin):]
	}
}

// HasServerTools says that tools holds one that the client doesn't run, or that it
// can't be read. It decodes the member each time.
func (r *Request) HasServerTools() bool {
	if !r.HasTools {
		return false
	}
	var tools []struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(r.tools.of(r.body), &tools) != nil {
		return true
	}
	for _, t := range tools {
		if !(Tool{Type: t.Type}).Client() {
			return true
		}
	}
	return false
}

// Searches gives how many web searches the request may make at most, each of which
// costs; false when there is no limit to them, or none that can be read.
func (r *Request) Searches() (most int64, limited bool) {
	if !r.HasTools {
		return 0, true
	}
	var tools []struct {
		Type    string         `json:"type"`
		MaxUses jsontext.Value `json:"max_uses"`
	}
	if json.Unmarshal(r.tools.of(r.body), &tools) != nil {
		return 0, false
	}
	for _, t := range tools {
		if !strings.HasPrefix(t.Type, "web_search") {
			continue
		}
		var uses int64
		if json.Unmarshal(t.MaxUses, &uses) != nil || uses <= 0 {
			return 0, false
		}
		most += min(uses, maxUses)
	}
	return most, true
}

// maxUses keeps the sum of what tools may be used a number.
const maxUses = 1 << 32

// ThinkingBudget gives thinking.budget_tokens, which max_tokens must exceed; 0 where
// thinking has no budget.
func (r *Request) ThinkingBudget() int64 {
	if r.thinking.empty() {
		return 0
	}
	var thinking struct {
		Type   string `json:"type"`
		Budget int64  `json:"budget_tokens"`
	}
	if json.Unmarshal(r.thinking.of(r.body), &thinking) != nil || thinking.Type != ThinkingEnabled {
		return 0
	}
	return max(thinking.Budget, 0)
}

// Speed gives the speed that is asked for, by which the price differs; "" where none is.
func (r *Request) Speed() string {
	if r.speed.empty() {
		return ""
	}
	var speed string
	if json.Unmarshal(r.speed.of(r.body), &speed) != nil {
		return ""
	}
	return speed
}
