package clipool_test

import (
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

func asked(t *testing.T, members string) *gateway.Call {
	t.Helper()
	request, err := message.ParseRequest([]byte(`{"messages":[{"role":"user","content":"hello"}]` + members + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Call{Request: request, Caller: &gateway.Caller{}}
}

func TestSuits(t *testing.T) {
	pool := clipool.New(clipool.Options{})
	defer pool.Close()
	for _, test := range []struct {
		name, members string
		change        func(*gateway.Call)
		want          bool
	}{
		{name: "plain", want: true},
		{name: "what is only warned of", members: `,"temperature":0.5,"top_k":3,"stop_sequences":["x"],"output_config":{"effort":"low"}`, want: true},
		{name: "no tools", members: `,"tools":[]`, want: true},
		{name: "a null format", members: `,"output_config":{"format":null}`, want: true},
		{name: "thinking", members: `,"thinking":{"type":"adaptive"}`, want: true},
		{name: "a version", change: func(c *gateway.Call) { c.Forward = http.Header{"Anthropic-Version": {"2023-06-01"}} }, want: true},
		{name: "a beta", change: func(c *gateway.Call) { c.Forward = http.Header{"Anthropic-Beta": {"x"}} }},
		{name: "a server tool", members: `,"tools":[{"type":"web_search_20250305","name":"web_search"}]`},
		{name: "a format", members: `,"output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}}`},
		{name: "an old format", members: `,"output_format":{"type":"json_schema"}`},
		{name: "MCP servers", members: `,"mcp_servers":[]`},
		{name: "a container", members: `,"container":"c"`},
		{name: "a count", change: func(c *gateway.Call) { c.CountOnly = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			call := asked(t, test.members)
			if test.change != nil {
				test.change(call)
			}
			if got := pool.Suits(call); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// message takes the answer of a count.
type counted struct{ body string }

func (*counted) Event(message.Event) error   { return nil }
func (*counted) Flush() error                { return nil }
func (*counted) End(gateway.Result) error    { return nil }
func (c *counted) Message(body []byte) error { c.body = string(body); return nil }

func TestCount(t *testing.T) {
	pool := clipool.New(clipool.Options{})
	defer pool.Close()
	for _, test := range []struct {
		name, members, want string
	}{
		// messages, role, user, content and hello make 28 bytes.
		{"a few words", "", `{"input_tokens":8}`},
		{"more words", `,"system":"` + strings.Repeat("x", 350) + `"`, `{"input_tokens":110}`},
		{"an image is flat", `,"metadata":{"data":"` + strings.Repeat("A", 100_000) + `"}`, `{"input_tokens":1612}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			call := asked(t, test.members)
			call.CountOnly = true
			out := &counted{}
			result, err := pool.Generate(t.Context(), call, out)
			if err != nil || out.body != test.want || result.Usage != (message.Usage{}) || result.CostMicroUSD == nil || *result.CostMicroUSD != 0 {
				t.Errorf("%s, %+v, %v; want %s", out.body, result, err, test.want)
			}
			if len(call.Warnings) != 1 || call.Warnings[0] != "count_tokens is an estimate on the CLI backend" {
				t.Errorf("warnings = %q", call.Warnings)
			}
		})
	}
	strict := asked(t, "")
	strict.CountOnly, strict.Strict = true, true
	if _, err := pool.Generate(t.Context(), strict, &counted{}); err == nil {
		t.Error("a strict caller got an estimate")
	}
}

// Whatever is a conversation has a count.
func FuzzCount(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"hello"}]}`))
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"image","source":{"data":"AAAA","data2":[["data"],{"data":{"data":1}}]}}]}],"use_cli":true}`))
	pool := clipool.New(clipool.Options{})
	defer pool.Close()
	f.Fuzz(func(t *testing.T, body []byte) {
		request, err := message.ParseRequest(body)
		if err != nil {
			return
		}
		call := &gateway.Call{Request: request, Caller: &gateway.Caller{}, CountOnly: true}
		out := &counted{}
		if _, err := pool.Generate(t.Context(), call, out); err != nil {
			if _, bad := request.Conversation(); bad == nil {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if !strings.HasPrefix(out.body, `{"input_tokens":`) || strings.HasPrefix(out.body, `{"input_tokens":-`) {
			t.Errorf("%q counts %s", body, out.body)
		}
	})
}
