package processapi

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

func TestSubstitute(t *testing.T) {
	for name, want := range map[string]string{
		"haiku": "haiku", "Sonnet": "sonnet", "auto": "auto", "claude-3-mini": "claude-3-mini", "Claude-Opus-5-5": "claude-opus-5-5",
		"gpt-4o-mini": "haiku", "gpt-5-nano": "haiku", "gpt-3.5-turbo": "haiku", "gemini-2.0-flash": "haiku", "o1-mini": "haiku", "gpt3.5": "haiku",
		"gpt-4o": "opus", "gpt-4o-2024-08-06": "opus", "gpt-4-turbo": "opus", "o1": "opus", "o1-preview": "opus", "openai/gpt-4o": "opus",
		"gpt-4": "sonnet", "gpt-5": "sonnet", "gpt-4.1": "sonnet", "gemini-1.5-pro": "sonnet", "llama-3": "sonnet", "demo1": "sonnet",
	} {
		own := strings.HasPrefix(want, "claude") || strings.EqualFold(name, want) || name == "auto"
		got, mapped := substitute(DefaultModels(), name)
		if got != want || mapped == own {
			t.Errorf("%s: %s (mapped %v), want %s", name, got, mapped, want)
		}
	}
	if got, mapped := substitute([]ModelRule{{Name: "gpt-4", Model: "haiku"}, {Model: "opus"}}, "gpt-4o"); got != "opus" || !mapped {
		t.Errorf("a whole name fitted another: %q, %t", got, mapped)
	}
	if got, mapped := substitute([]ModelRule{{Match: "x", Model: "opus"}}, "unknown"); got != "unknown" || mapped {
		t.Errorf("without a rule: %s, %v", got, mapped)
	}
}

// Whatever is accepted becomes a Messages request; nothing else may come out
// than a bad_request.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"provider":"openai","model_name":"gpt-4","messages":[{"role":"user","content":"hi"}]}`))
	f.Add([]byte(`{"provider":"p","model_name":"\"","system_message":"\\","user_message":"\u2028","temperature":2,"max_tokens":1}`))
	f.Add([]byte(`{"provider":"p","model_name":"m","content":[{"type":"text","text":"a"},{"type":"x","y":[{}]}],"additional_params":{"stream":true}}`))
	f.Add([]byte(`{"provider":"p","model_name":"m","user_message":"u","tools":[{"type":"function","function":{"name":"w","parameters":{}}},{"name":"n","input_schema":{}}],"tool_choice":{"type":"tool","name":"n"}}`))
	f.Add([]byte(`{"provider":"p","model_name":"m","content":"c","media_content":[{"type":"image/png","data":"AA"},{"type":"image_url","image_url":"https://x"},{"type":"document","source":{"type":"url"}}]}`))
	f.Add([]byte(`{"provider":"p","model_name":"m","content":"c","output_schema":{"oneOf":[{"minimum":1}]},"additional_params":{"thinking":{"type":"enabled","budget_tokens":1},"stop":["",null],"top_p":1,"reasoning_effort":"max"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decode(protocol.NewScanner(body))
		if err == nil {
			_, err = p.translate("sonnet", &message.Rules{}, len(body))
		}
		if err != nil && apierror.From(err).Category != apierror.BadRequest {
			t.Fatalf("category of %v", err)
		}
	})
}

// Every prompt that is accepted makes a Messages request.
func FuzzDecodeBatch(f *testing.F) {
	f.Add([]byte(`{"prompts":["a",{"prompt":"b","id":7},{"prompt":"\\u2028","id":null,"x":1}],"system":"s","timeout":1.5}`))
	f.Add([]byte(`{"prompts":[""],"model":"gpt-4","temperature":2,"max_tokens":9007199254740993}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeBatch(protocol.NewScanner(body))
		if err != nil {
			if apierror.From(err).Category != apierror.BadRequest {
				t.Fatalf("category of %v", err)
			}
			return
		}
		all := results{Total: len(b.prompts)}
		for i, p := range b.prompts {
			if !p.text.IsValid() {
				t.Fatalf("prompt %s", p.text)
			}
			var o outcome
			if i%2 == 1 {
				o.err = apierror.New(apierror.Internal, "x")
			}
			all.Prompts = append(all.Prompts, resultOf(i, p, o))
		}
		if out := jsontext.Value(all.append(nil)); !out.IsValid() {
			t.Fatalf("the answer is %s", out)
		}
	})
}

func FuzzDecodeRoute(f *testing.F) {
	f.Add([]byte(`{"prompt":"list \\ud83d","context_size":10001,"x":[1]}`))
	f.Add([]byte(`{"prompt":"","context_size":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if q, err := decodeRoute(protocol.NewScanner(body)); err != nil && apierror.From(err).Category != apierror.BadRequest || err == nil && !q.prompt.IsValid() {
			t.Fatalf("%+v, %v", q, err)
		}
	})
}
