package simulator

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/message"
)

// TestWhatIsCachedIsCountedByItsLifetime in answers of both forms. A token is four
// bytes; what was found in the cache is only read.
func TestWhatIsCachedIsCountedByItsLifetime(t *testing.T) {
	const body = `{"model":"claude-haiku-4-5","max_tokens":9,` +
		`"system":[{"type":"text","text":"0123456789abcdef","cache_control":SYSTEM}],` +
		`"messages":[{"role":"user","content":[{"type":"text","text":"01234567","cache_control":USER}]}]}`
	const short, hour, ended = `{"type":"ephemeral"}`, `{"type":"ephemeral","ttl":"1h"}`, `{"type":"ephemeral","ttl":"5m"}`
	for _, test := range []struct {
		name, system, user string
		request            string // a cache_control of the whole request
		want               message.CacheCreation
		again              int64 // tokens read from the cache the second time
	}{
		{"an hour", hour, "null", "", message.CacheCreation{Ephemeral1hInputTokens: 4}, 4},
		{"five minutes", short, ended, "", message.CacheCreation{Ephemeral5mInputTokens: 6}, 6},
		{"both", hour, short, "", message.CacheCreation{Ephemeral5mInputTokens: 2, Ephemeral1hInputTokens: 4}, 6},
		{"all for an hour", hour, hour, "", message.CacheCreation{Ephemeral1hInputTokens: 6}, 6},
		{"the whole request for an hour", "null", "null", hour, message.CacheCreation{Ephemeral1hInputTokens: 6}, 6},
		{"the whole request", "null", "null", short, message.CacheCreation{Ephemeral5mInputTokens: 6}, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			ask := strings.NewReplacer("SYSTEM", test.system, "USER", test.user).Replace(body)
			if test.request != "" {
				ask = strings.Replace(ask, "{", `{"cache_control":`+test.request+`,`, 1)
			}
			s := New(Options{})
			whole, err := message.Summarize(post(t, s, ask).Body.Bytes())
			if u := whole.Usage; err != nil || u.CacheCreation != test.want || u.CacheCreationInputTokens != test.again || u.CacheReadInputTokens != 0 {
				t.Errorf("first: %+v, %v", whole.Usage, err)
			}
			whole, err = message.Summarize(post(t, s, ask).Body.Bytes())
			if u := whole.Usage; err != nil || u.CacheCreation != (message.CacheCreation{}) || u.CacheReadInputTokens != test.again {
				t.Errorf("again: %+v, %v", whole.Usage, err)
			}
			stream := post(t, New(Options{}), strings.Replace(ask, "{", `{"stream":true,`, 1)).Body.String()
			_, data, _ := strings.Cut(stream, "data: ")
			data, _, _ = strings.Cut(data, "\n")
			var streamed message.Summary
			if err := streamed.Observe(message.Event{Type: message.EventMessageStart, Data: []byte(data)}); err != nil || streamed.Usage.CacheCreation != test.want {
				t.Errorf("stream: %+v, %v", streamed.Usage, err)
			}
		})
	}
}
