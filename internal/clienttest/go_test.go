package clienttest_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"
)

// The names of the model: in full for the clients of the Messages API, its alias
// for the others.
const (
	model = "claude-haiku-5-5"
	alias = "haiku"
)

// A picture of one pixel, a document of no pages, and an address that nobody
// fetches: it goes to the upstream as it is.
const (
	pixel   = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
	page64  = "JVBERi0xLjQKdHJhaWxlcjw8Pj4K"
	picture = "https://pictures.example.com/cat.png"
)

// longCity is a tool's input that comes in several deltas.
const longCity = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch in Wales"

// weatherSchema is that of the tool weather, citySchema that of an answer, and
// cityAnswer what the simulator makes of it.
func weatherSchema() map[string]any {
	return map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}}
}

func citySchema() map[string]any {
	return map[string]any{
		"type":       "object",
		"properties": map[string]any{"city": map[string]any{"type": "string"}, "population": map[string]any{"type": "integer"}},
		"required":   []string{"city", "population"}, "additionalProperties": false,
	}
}

const cityAnswer = `{"city":"a city","population":1}`

// callTool is a directive to the simulator: it calls the tool weather.
func callTool(city string) string { return fmt.Sprintf(` [[tool=weather input={"city":%q}]]`, city) }

// echo is what the simulator answers to a prompt, tokens how many it counts for
// a text.
func echo(prompt string) string { return "Echo: " + prompt }

func tokens(text string) int64 { return int64(len(text)+3) / 4 }

// checks are those of one client on one backend, by feature.
type checks map[string]func(t *testing.T)

// runGo runs the checks of a client in Go.
func (s *stand) runGo(t *testing.T, c client) []result {
	t.Helper()
	var results []result
	for _, backend := range backends {
		var list checks
		switch c.name {
		case "openai-go":
			list = s.openAIChecks(backend)
		case "anthropic-sdk-go":
			list = s.anthropicChecks(backend)
		}
		for _, feature := range slices.Sorted(maps.Keys(list)) {
			r := result{Client: c.name, Feature: feature, Backend: backend}
			if !t.Run(feature+" on "+backend, list[feature]) {
				r.Error = "failed"
			}
			results = append(results, r)
		}
	}
	return results
}

// asError gives the client's own error.
func asError[E error](t *testing.T, err error) E {
	t.Helper()
	var own E
	if !errors.As(err, &own) {
		t.Fatalf("%T: %v", err, err)
	}
	return own
}

// check fails unless the two are equal.
func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// checkRetryAfter looks at a refusal of a key that may ask again in three seconds.
func checkRetryAfter(t *testing.T, header http.Header) {
	t.Helper()
	if wait, err := strconv.Atoi(header.Get("Retry-After")); err != nil || wait < 1 || wait > 3 {
		t.Errorf("Retry-After %q", header.Get("Retry-After"))
	}
}

// checkDeltas fails unless there are several that make the whole.
func checkDeltas(t *testing.T, list []string, whole string) {
	t.Helper()
	sum := ""
	for _, delta := range list {
		sum += delta
	}
	if sum != whole || len(list) < 2 {
		t.Errorf("%d deltas make %q, want %q", len(list), sum, whole)
	}
}
