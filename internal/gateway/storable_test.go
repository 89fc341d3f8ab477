package gateway_test

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/gateway"
)

func TestStorable(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"claude-haiku-5-5":     "claude-haiku-5-5",
		"0123456789abcdefg":    "0123456789abcdef",
		"größe":                "größe",
		"0123456789abcdeß":     "0123456789abcde",
		"a\x00b\x1b[31m\u009b": "ab[31m",
		"a\nb\x7f":             "ab",
		"a\xffb":               "a?b",
		strings.Repeat("€", 6): strings.Repeat("€", 5),
	} {
		if got := gateway.Storable(text, 16); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { gateway.Storable("claude-haiku-5-5", 16) }); n != 0 {
		t.Errorf("a text as it should be costs %v allocations", n)
	}
}
