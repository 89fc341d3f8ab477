package simulator

import (
	"bytes"

	"github.com/go-json-experiment/json"
)

// search gives the blocks of a web search that the API runs itself: the call,
// and one result.
func (x *exchange) search(call toolCall) []content {
	id := x.s.id("srvtoolu_")
	var input struct {
		Query string `json:"query"`
	}
	_ = json.Unmarshal(call.input, &input) // an input that a directive gave may be anything
	var found bytes.Buffer
	found.WriteString(`[{"type":"web_search_result","url":"https://example.com/","title":`)
	found.Write(appendQuote(nil, "About "+input.Query))
	found.WriteString(`,"encrypted_content":"c2ltdWxhdG9y","page_age":null}]`)
	return []content{
		{kind: "server_tool_use", text: call.input, id: id, name: []byte(call.name)},
		{kind: "web_search_tool_result", text: found.Bytes(), id: id},
	}
}
