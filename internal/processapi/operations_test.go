package processapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// document is the package's part of the OpenAPI document.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	return protocoltest.Document(t, processapi.New(processapi.Options{}).Operations(), "Process", "Batch", "Route", "Usage", "Provider", "Chat")
}

// checkAnswer checks an answer against what the document says of its status.
func checkAnswer(t *testing.T, operation *openapi3.Operation, answer protocoltest.Answer) {
	t.Helper()
	response := operation.Responses.Status(answer.Status)
	if response == nil {
		t.Fatalf("the status %d isn't documented: %s", answer.Status, answer.Body)
	}
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	content := response.Value.Content.Get(kind)
	if content == nil {
		t.Fatalf("%s isn't documented for %d", kind, answer.Status)
	}
	bodies := []string{answer.Body}
	switch kind {
	case openapi.EventStream:
		bodies = nil
		for line := range strings.Lines(answer.Body) {
			if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
				bodies = append(bodies, data)
			}
		}
		if len(bodies) == 0 {
			t.Fatalf("no events in %s", answer.Body)
		}
	case openapi.JSON:
	default:
		return
	}
	for _, body := range bodies {
		if err := protocoltest.Fits(t, content.Schema, body); err != nil {
			t.Errorf("%v\n%s", err, body)
		}
	}
}

func TestDocument(t *testing.T) {
	doc := document(t)
	tools := `{"id":"msg_1","model":"m","stop_reason":"tool_use","content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t1","name":"w","input":{}}]}`
	stream := golden(t, "tools.sse")
	everything := `{"provider":"p","model_name":"sonnet","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"}]},
		{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"w","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"sun"},{"role":"user","content":"so?"}],
		"system_message":"s","user_message":"u","content":[{"type":"text","text":"x"}],"max_tokens":10,"temperature":0.5,"async_processing":false,"stream":false,"timeout":10.5,
		"additional_params":{"stream":false,"timeout":1,"top_p":0.5,"top_k":3,"stop":["a"],"stop_sequences":"b","thinking":{"type":"adaptive"},"reasoning_effort":"low","user":"u","extra":1},
		"tools":[{"type":"function","function":{"name":"w"}},{"name":"n","input_schema":{}}],"tool_choice":{"type":"tool","name":"n"},"parallel_tool_calls":false,
		"output_schema":{"type":"object"},"response_format":{"type":"text"},"media_content":[{"type":"image/png","data":"AA"}],"memory":{},"allowed_tools":["x"],"working_directory":"/","use_cli":true,"project_id":"p"}`
	nulls := `{"provider":"p","model_name":"m","content":"c","messages":null,"system_message":null,"user_message":null,"max_tokens":null,"temperature":null,"async_processing":null,"stream":null,"timeout":null,
		"additional_params":null,"tools":null,"tool_choice":null,"parallel_tool_calls":null,"output_schema":null,"response_format":null,"media_content":null,"memory":null,"use_cli":null,"project_id":null}`
	tests := []struct {
		name, method, path string
		url, body          string
		rooms              protocoltest.Rooms
		status             int
	}{
		{"plain", "POST", "/v1/process", "", plain, protocoltest.Rooms{Message: []byte(whole)}, 200},
		{"everything", "POST", "/v1/process", "", everything, protocoltest.Rooms{Message: []byte(tools)}, 200},
		{"nulls", "POST", "/v1/process", "", nulls, protocoltest.Rooms{Message: []byte(whole)}, 200},
		{"stream", "POST", "/v1/process", "", streamed, protocoltest.Rooms{Stream: stream, Result: summary(t, stream)}, 200},
		{"stream that fails", "POST", "/v1/process", "", streamed, protocoltest.Rooms{Stream: stream[:800], Err: apierror.New(apierror.CLIError, "died")}, 200},
		{"async", "POST", "/v1/process", "", later, protocoltest.Rooms{Message: []byte(whole)}, 202},
		{"timeout", "POST", "/v1/process", "", plain, protocoltest.Rooms{Err: apierror.New(apierror.Timeout, "slow")}, 504},
		{"budget", "POST", "/v1/process", "", plain, protocoltest.Rooms{AdmitErr: apierror.New(apierror.BudgetExceeded, "spent")}, 403},
		{"async batch", "POST", "/v1/batch", "", laterBatch, protocoltest.Rooms{Message: []byte(whole)}, 202},
		{"no batch", "GET", "/v1/batch/{id}", "/v1/batch/x", "", protocoltest.Rooms{}, 404},
		{"no run", "GET", "/v1/process/{id}", "/v1/process/x", "", protocoltest.Rooms{}, 404},
		{"batch", "POST", "/v1/batch", "", `{"prompts":["a",{"prompt":"b","id":"x"},{"prompt":"c","id":3}],"model":"gpt-4","system":"s","max_tokens":5,"temperature":1,"timeout":5,"use_cli":true,"project_id":"p"}`, protocoltest.Rooms{Message: []byte(whole)}, 200},
		{"batch that fails", "POST", "/v1/batch", "", `{"prompts":["a"],"model":null,"timeout":null}`, protocoltest.Rooms{Err: apierror.New(apierror.CLIError, "died")}, 200},
		{"route", "POST", "/v1/route", "", `{"prompt":"list","context_size":5}`, protocoltest.Rooms{}, 200},
		{"usage", "GET", "/v1/usage", "/v1/usage?period=day&group_by=key", "", protocoltest.Rooms{}, 200},
		{"usage as CSV", "GET", "/v1/usage", "/v1/usage?format=csv", "", protocoltest.Rooms{}, 200},
		{"usage of a year", "GET", "/v1/usage", "/v1/usage?period=year", "", protocoltest.Rooms{}, 400},
		{"providers", "GET", "/v1/providers", "", "", protocoltest.Rooms{}, 200},
		{"models", "GET", "/v1/providers/{provider}/models", "/v1/providers/claudecode/models", "", protocoltest.Rooms{}, 200},
		{"no models", "GET", "/v1/providers/{provider}/models", "/v1/providers/x/models", "", protocoltest.Rooms{}, 404},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			operation := doc.Paths.Value(tt.path).GetOperation(tt.method)
			if tt.body != "" {
				if err := protocoltest.Fits(t, operation.RequestBody.Value.Content.Get(openapi.JSON).Schema, tt.body); err != nil {
					t.Errorf("the document refuses the request: %v", err)
				}
			}
			o := options(&tt.rooms)
			o.Usage = &reports{report: sampleReport()}
			o.Providers = []processapi.Provider{{Name: "claudecode", Available: func() bool { return true }, Models: []processapi.ProviderModel{{ID: "x"}}}}
			url := tt.url
			if url == "" {
				url = tt.path
			}
			base := start(t, o)
			answer := protocoltest.Do(t, tt.method, base+url, tt.body, "X-Api-Key", protocoltest.Key)
			if answer.Status != tt.status {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			checkAnswer(t, operation, answer)
			if location := answer.Header.Get("Location"); location != "" {
				settled(t, base+location)
				checkAnswer(t, doc.Paths.Value(tt.path+"/{id}").Get, protocoltest.Do(t, http.MethodGet, base+location, "", "X-Api-Key", protocoltest.Key))
			}
		})
	}
}

func TestDocumentRefusesWhatIsRefused(t *testing.T) {
	doc := document(t)
	url := start(t, options(&protocoltest.Rooms{Message: []byte(whole)}))
	for _, tt := range []struct{ name, path, body string }{
		{"no provider", "/v1/process", `{"model_name":"m","content":"x"}`},
		{"role", "/v1/process", `{"provider":"p","model_name":"m","messages":[{"role":"robot","content":"x"}]}`},
		{"temperature", "/v1/process", `{"provider":"p","model_name":"m","content":"x","temperature":3}`},
		{"effort", "/v1/process", `{"provider":"p","model_name":"m","content":"x","additional_params":{"reasoning_effort":"huge"}}`},
		{"choice", "/v1/process", `{"provider":"p","model_name":"m","content":"x","tool_choice":"x"}`},
		{"media", "/v1/process", `{"provider":"p","model_name":"m","content":"x","media_content":"x"}`},
		{"no prompts", "/v1/batch", `{}`},
		{"a prompt of another kind", "/v1/batch", `{"prompts":[1]}`},
		{"no prompt", "/v1/route", `{"context_size":1}`},
		{"a negative size", "/v1/route", `{"prompt":"x","context_size":-1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			operation := doc.Paths.Value(tt.path).Post
			if protocoltest.Fits(t, operation.RequestBody.Value.Content.Get(openapi.JSON).Schema, tt.body) == nil {
				t.Error("the document allows it")
			}
			answer := protocoltest.Post(t, url+tt.path, tt.body)
			if answer.Status != http.StatusBadRequest {
				t.Errorf("the handler takes it: %d", answer.Status)
			}
			checkAnswer(t, operation, answer)
		})
	}
}

// Every route is documented, and every operation is a route.
func TestDocumentNamesEveryRoute(t *testing.T) {
	h := processapi.New(processapi.Options{Gateway: gateway.New(gateway.Options{})})
	mux := http.NewServeMux()
	h.Register(mux)
	for _, o := range h.Operations() {
		r, err := http.NewRequestWithContext(t.Context(), o.Method, o.Path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, pattern := mux.Handler(r); pattern != o.Method+" "+o.Path {
			t.Errorf("%s %s is served as %q", o.Method, o.Path, pattern)
		}
	}
}
