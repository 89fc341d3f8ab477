package openaiapi_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/openaiapi"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func operation(t *testing.T) *openapi3.Operation {
	t.Helper()
	doc := protocoltest.Document(t, openaiapi.New(openaiapi.Options{}).Operations(), "Chat")
	return doc.Paths.Value("/v1/chat/completions").Post
}

// Requests that the handler takes, and that the document must allow.
var requests = map[string]string{
	"plain":  plain,
	"stream": streamed,
	"everything": `{"model":"sonnet","max_completion_tokens":100,"max_tokens":100,"temperature":0.5,"top_p":1,"top_k":-1,"stop":["a","b"],"stream":false,"stream_options":{"include_usage":true,"include_obfuscation":false},
		"n":1,"modalities":["text"],"logprobs":false,"top_logprobs":0,"seed":7,"frequency_penalty":0.1,"presence_penalty":-0.1,"logit_bias":{"5":1},"store":true,"metadata":{"a":"b"},"prediction":{"type":"content","content":"x"},
		"web_search_options":{},"moderation":{"model":"m"},"prompt_cache_key":"k","prompt_cache_retention":"24h","prompt_cache_options":{"mode":"explicit"},"service_tier":"auto","verbosity":"low","user":"u","safety_identifier":"s",
		"reasoning_effort":"low","parallel_tool_calls":true,"use_cli":true,"project_id":"p","timeout":30.5,"allowed_tools":["Read"],"working_directory":"/",
		"tools":[{"type":"function","function":{"name":"w","description":"d","strict":true,"parameters":{"type":"object","properties":{}}},"cache_control":{"type":"ephemeral"}}],"tool_choice":"auto",
		"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","strict":true,"schema":{"type":"object"}}},
		"messages":[{"role":"system","content":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]},{"role":"developer","content":"d"},
			{"role":"user","name":"ann","content":[{"type":"text","text":"t"},{"type":"image_url","image_url":{"url":"https://x.test/a.png","detail":"low"}},{"type":"image_url","image_url":"https://x.test/a.png"},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0x"}}]},
			{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"w","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"sun"},{"role":"user","content":"so?"}]}`,
	"a function by name": `{"tools":[{"type":"function","function":{"name":"w"}}],"tool_choice":{"type":"function","function":{"name":"w"}},"messages":[{"role":"user","content":"hi"}]}`,
	"allowed tools":      `{"tools":[{"type":"function","function":{"name":"w"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"w"}}]}},"messages":[{"role":"user","content":"hi"}]}`,
	"json mode":          `{"response_format":{"type":"json_object"},"thinking":{"type":"enabled","budget_tokens":2000,"display":"omitted"},"stop":"x","messages":[{"role":"user","content":"hi"}]}`,
}

func TestDocumentAllowsWhatIsTaken(t *testing.T) {
	schema := operation(t).RequestBody.Value.Content.Get(openapi.JSON).Schema
	for name, body := range requests {
		t.Run(name, func(t *testing.T) {
			if err := protocoltest.Fits(t, schema, body); err != nil {
				t.Errorf("the document refuses it: %v", err)
			}
			rooms := &protocoltest.Rooms{Message: []byte(whole)}
			if answer := protocoltest.Post(t, serve(t, rooms), body); answer.Status != 200 {
				t.Errorf("the handler refuses it: %d %s", answer.Status, answer.Body)
			}
		})
	}
}

func TestDocumentRefusesWhatIsRefused(t *testing.T) {
	schema := operation(t).RequestBody.Value.Content.Get(openapi.JSON).Schema
	for name, body := range map[string]string{
		"no messages":     `{"model":"haiku"}`,
		"role":            `{"messages":[{"role":"robot","content":"x"}]}`,
		"temperature":     `{"temperature":3,"messages":[{"role":"user","content":"hi"}]}`,
		"n":               `{"n":2,"messages":[{"role":"user","content":"hi"}]}`,
		"effort":          `{"reasoning_effort":"huge","messages":[{"role":"user","content":"hi"}]}`,
		"tool choice":     `{"tool_choice":"any","messages":[{"role":"user","content":"hi"}]}`,
		"tool":            `{"tools":[{"type":"custom","custom":{"name":"x"}}],"messages":[{"role":"user","content":"hi"}]}`,
		"response_format": `{"response_format":{"type":"grammar"},"messages":[{"role":"user","content":"hi"}]}`,
		"timeout":         `{"timeout":"1s","messages":[{"role":"user","content":"hi"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if protocoltest.Fits(t, schema, body) == nil {
				t.Error("the document allows it")
			}
			answer := protocoltest.Post(t, serve(t, &protocoltest.Rooms{Message: []byte(whole)}), body)
			if answer.Status != 400 {
				t.Errorf("the handler takes it: %d", answer.Status)
			}
		})
	}
}

func TestDocumentDescribesAnswers(t *testing.T) {
	responses := operation(t).Responses
	answers := []string{whole, `{"id":"msg_1","model":"m","stop_reason":"tool_use","usage":{"service_tier":"priority","output_tokens_details":{"thinking_tokens":3}},` +
		`"content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t1","name":"w","input":{}}]}`}
	for _, answer := range answers {
		got := protocoltest.Post(t, serve(t, &protocoltest.Rooms{Message: []byte(answer)}), plain)
		if err := protocoltest.Fits(t, responses.Status(200).Value.Content.Get(openapi.JSON).Schema, got.Body); err != nil {
			t.Errorf("%v\n%s", err, got.Body)
		}
	}
	for _, name := range []string{"text", "thinking", "tools", "refusal"} {
		stream := golden(t, name+".sse")
		got := protocoltest.Post(t, serve(t, &protocoltest.Rooms{Stream: stream, Result: summary(t, stream)}), streamed)
		chunks := 0
		for line := range strings.Lines(got.Body) {
			data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
			if !ok || data == "[DONE]" {
				continue
			}
			chunks++
			if err := protocoltest.Fits(t, responses.Status(200).Value.Content.Get(openapi.EventStream).Schema, data); err != nil {
				t.Errorf("%s: %v\n%s", name, err, data)
			}
		}
		if chunks < 3 {
			t.Errorf("%s: only %d chunks", name, chunks)
		}
	}
	for _, err := range []error{errors.New("x"), apierror.Invalid("model", "no"), apierror.New(apierror.Timeout, "slow"), apierror.New(apierror.Overloaded, "full"), apierror.New(apierror.CLIError, "died")} {
		got := protocoltest.Post(t, serve(t, &protocoltest.Rooms{Err: err}), plain)
		response := responses.Status(got.Status)
		if response == nil {
			t.Fatalf("the status %d isn't documented", got.Status)
		}
		if err := protocoltest.Fits(t, response.Value.Content.Get(openapi.JSON).Schema, got.Body); err != nil {
			t.Errorf("%v\n%s", err, got.Body)
		}
	}
}
