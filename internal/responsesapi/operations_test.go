package responsesapi_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/responsesapi"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	return protocoltest.Document(t, responsesapi.New(responsesapi.Options{}).Operations(), "Response")
}

// Requests that the handler takes, and that the document must allow.
func requests() map[string]string {
	return map[string]string{
		"plain":  plain,
		"stream": streamed,
		"everything": `{"model":"sonnet","instructions":"i","max_output_tokens":4000,"temperature":0.5,"top_p":1,"stream":false,"stream_options":{"include_obfuscation":true},"store":false,
			"tools":[{"type":"function","name":"w","description":"d","strict":true,"parameters":{"type":"object","properties":{}}},{"type":"function","name":"x","strict":null,"parameters":null}],"tool_choice":"auto","parallel_tool_calls":true,
			"text":{"format":{"type":"json_schema","name":"n","strict":true,"schema":{"type":"object","properties":{}}},"verbosity":"low"},"reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content","file_search_call.results"],
			"metadata":{"a":"b"},"user":"u","safety_identifier":"s","prompt_cache_key":"k","truncation":"auto","service_tier":"flex","max_tool_calls":3,"use_cli":true,"background":false,"conversation":null,"prompt":null,"top_logprobs":0,"previous_response_id":null,
			"input":[{"role":"system","content":"s"},{"type":"message","role":"user","content":[{"type":"input_text","text":"t"},{"type":"input_image","image_url":"https://x.test/a.png","detail":"low"},{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0x"},{"type":"input_file","file_url":"https://x.test/a.pdf"}]},
				{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":null},{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"a","annotations":[],"logprobs":[]}]},
				{"type":"function_call","id":"fc_1","call_id":"c","name":"w","arguments":"{}","status":"completed"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"sun"}]}]}`,
		"a function by name": `{"tools":[{"type":"function","name":"w"}],"tool_choice":{"type":"function","name":"w"},"input":"hi"}`,
		"allowed tools":      `{"tools":[{"type":"function","name":"w"}],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"w"}]},"input":"hi"}`,
		"json mode":          `{"text":{"format":{"type":"json_object"}},"input":"hi"}`,
	}
}

func TestDocumentAllowsWhatIsTaken(t *testing.T) {
	schema := document(t).Paths.Value("/v1/responses").Post.RequestBody.Value.Content.Get(openapi.JSON).Schema
	f := serve(t, &protocoltest.Rooms{Message: []byte(whole), Stream: golden(t, "text")}, nil)
	for name, body := range requests() {
		t.Run(name, func(t *testing.T) {
			if err := protocoltest.Fits(t, schema, body); err != nil {
				t.Errorf("the document refuses it: %v", err)
			}
			if answer := protocoltest.Post(t, f.url, body); answer.Status != http.StatusOK {
				t.Errorf("the handler refuses it: %d %s", answer.Status, answer.Body)
			}
		})
	}
}

func TestDocumentDescribesAnswers(t *testing.T) {
	doc := document(t)
	create := doc.Paths.Value("/v1/responses").Post.Responses
	ok := create.Status(http.StatusOK).Value.Content
	rooms := &protocoltest.Rooms{Message: []byte(`{"model":"m","usage":{"output_tokens_details":{"thinking_tokens":3}},"content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"text","text":"x"},{"type":"tool_use","id":"t1","name":"w","input":{}}]}`)}
	f := serve(t, rooms, nil)
	var last string
	for name, body := range requests() {
		if name == "stream" {
			continue
		}
		got := protocoltest.Post(t, f.url, body)
		if err := protocoltest.Fits(t, ok.Get(openapi.JSON).Schema, got.Body); err != nil {
			t.Errorf("%v\n%s", err, got.Body)
		}
		if strings.Contains(got.Body, `"store":true`) {
			last = id(t, got.Body)
		}
	}
	for _, ask := range []struct {
		path, method, url string
		status            int
	}{
		{"/v1/responses/{id}", "GET", "/" + last, 200},
		{"/v1/responses/{id}/input_items", "GET", "/" + last + "/input_items", 200},
		{"/v1/responses/{id}/cancel", "POST", "/" + last + "/cancel", 400},
		{"/v1/responses/{id}", "DELETE", "/" + last, 200},
		{"/v1/responses/{id}", "GET", "/" + last, 404},
	} {
		got := protocoltest.Do(t, ask.method, f.url+ask.url, "", "X-Api-Key", protocoltest.Key)
		response := doc.Paths.Value(ask.path).GetOperation(ask.method).Responses.Status(ask.status)
		if got.Status != ask.status {
			t.Errorf("%s %s: %d %s", ask.method, ask.url, got.Status, got.Body)
		} else if err := protocoltest.Fits(t, response.Value.Content.Get(openapi.JSON).Schema, got.Body); err != nil {
			t.Errorf("%v\n%s", err, got.Body)
		}
	}
	events := ok.Get(openapi.EventStream).Schema
	for _, name := range []string{"text", "thinking", "tools", "refusal", "broken"} {
		rooms := &protocoltest.Rooms{}
		if name == "broken" {
			rooms.Stream, rooms.Err = golden(t, "pause"), apierror.New(apierror.ConnectionError, "the upstream hung up")
		} else {
			rooms.Stream = golden(t, name)
			rooms.Result = summary(t, rooms.Stream)
		}
		n := 0
		for line := range strings.Lines(protocoltest.Post(t, serve(t, rooms, nil).url, streamed).Body) {
			data, isData := strings.CutPrefix(strings.TrimSpace(line), "data: ")
			if !isData {
				continue
			}
			n++
			if err := protocoltest.Fits(t, events, data); err != nil {
				t.Errorf("%s: %v\n%s", name, err, data)
			}
		}
		if n < 5 {
			t.Errorf("%s: only %d events", name, n)
		}
	}
	for _, err := range []error{errors.New("x"), apierror.Invalid("model", "no"), apierror.New(apierror.Timeout, "slow"), apierror.New(apierror.Overloaded, "full"), apierror.New(apierror.CLIError, "died")} {
		got := protocoltest.Post(t, serve(t, &protocoltest.Rooms{Err: err}, nil).url, plain)
		response := create.Status(got.Status)
		if response == nil {
			t.Fatalf("the status %d isn't documented", got.Status)
		}
		if err := protocoltest.Fits(t, response.Value.Content.Get(openapi.JSON).Schema, got.Body); err != nil {
			t.Errorf("%v\n%s", err, got.Body)
		}
	}
}

// Every route that is served is documented.
func TestEveryRouteIsDocumented(t *testing.T) {
	mux := http.NewServeMux()
	h := responsesapi.New(responsesapi.Options{Gateway: gateway.New(gateway.Options{})})
	h.Register(mux)
	for _, o := range h.Operations() {
		r, err := http.NewRequestWithContext(t.Context(), o.Method, strings.ReplaceAll(o.Path, "{id}", "x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, pattern := mux.Handler(r); pattern != o.Method+" "+o.Path {
			t.Errorf("%s %s is served by %q", o.Method, o.Path, pattern)
		}
	}
}
