package openaiapi

import "claude-code-api-service/internal/message"

// Translator makes the function that reads and translates a request, for the
// benchmarks.
func Translator() func(body []byte) error {
	h := New(Options{})
	rules := message.Rules{Thinking: []string{"adaptive", "between_tools"}, ThinksByDefault: true, MaxOutputTokens: 128_000}
	return func(body []byte) error {
		chat, err := h.decode(body)
		if err != nil {
			return err
		}
		_, err = chat.translate(rules, len(body))
		return err
	}
}
