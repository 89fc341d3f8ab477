package processapi

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
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
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decode(protocol.NewScanner(body))
		if err == nil {
			_, err = p.translate("sonnet", true, len(body))
		}
		if err != nil && apierror.From(err).Category != apierror.BadRequest {
			t.Fatalf("category of %v", err)
		}
	})
}
