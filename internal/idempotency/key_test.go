package idempotency

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
)

func TestReadKey(t *testing.T) {
	longest := strings.Repeat("k", 255)
	for _, tt := range []struct {
		values []string
		want   string // "": refused
	}{
		{[]string{"8e03978e-40d5-43dd-bc93-6894a57f9324"}, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{[]string{`"8e03978e"`}, "8e03978e"},
		{[]string{`"two words"`}, "two words"},
		{[]string{`"a\"b\\c"`}, `a"b\c`},
		{[]string{`a"b\c`}, `a"b\c`},
		{[]string{"!~"}, "!~"},
		{[]string{longest}, longest},
		{[]string{`"` + longest + `"`}, longest},
		{[]string{longest + "k"}, ""},
		{[]string{`"` + longest + `k"`}, ""},
		{[]string{""}, ""},
		{[]string{`""`}, ""},
		{[]string{`"`}, ""},
		{[]string{`"open`}, ""},
		{[]string{`"open\"`}, ""},
		{[]string{`"bad\n"`}, ""},
		{[]string{`"end\`}, ""},
		{[]string{`"a";p=1`}, ""},
		{[]string{`"a"b"`}, ""},
		{[]string{"two words"}, ""},
		{[]string{"tab\t"}, ""},
		{[]string{"\"tab\t\""}, ""},
		{[]string{"größe"}, ""},
		{[]string{"del\x7f"}, ""},
		{[]string{"a", "b"}, ""},
	} {
		got, err := readKey(http.Header{"Idempotency-Key": tt.values})
		if tt.want != "" {
			if got != tt.want || err != nil {
				t.Errorf("%q is read as %q, %v", tt.values, got, err)
			}
			continue
		}
		var e *apierror.Error
		if !errors.As(err, &e) || e.Status() != 400 || e.Param != "Idempotency-Key" || !strings.HasPrefix(e.Message, "Idempotency-Key: ") {
			t.Errorf("%q is read as %q, %v", tt.values, got, err)
		}
	}
}

// TestFingerprint: what decides the answer decides the fingerprint, and nothing
// else does.
func TestFingerprint(t *testing.T) {
	of := func(change func(r *http.Request), target, body string) fingerprint {
		r := httptest.NewRequest(http.MethodPost, target, nil)
		r.Header.Set("X-Claude-Backend", "cli")
		change(r)
		return fingerprintOf(r, []byte(body))
	}
	same := func(*http.Request) {}
	first := of(same, "/v1/messages?beta=true", "{}")
	for name, got := range map[string]fingerprint{
		"nothing": of(same, "/v1/messages?beta=true", "{}"),
		"the number of the try": of(func(r *http.Request) {
			r.Header.Set("X-Stainless-Retry-Count", "1")
			r.Header.Set("X-Request-Id", "another")
			r.Header.Set("User-Agent", "another")
		}, "/v1/messages?beta=true", "{}"),
	} {
		if got != first {
			t.Errorf("%s makes another request of it", name)
		}
	}
	seen := map[fingerprint]string{first: "the first"}
	for name, got := range map[string]fingerprint{
		"the body":                of(same, "/v1/messages?beta=true", "{ }"),
		"the path":                of(same, "/v1/responses?beta=true", "{}"),
		"the query":               of(same, "/v1/messages", "{}"),
		"the query in the path":   of(same, "/v1/messages%3Fbeta=true", "{}"),
		"the method":              of(func(r *http.Request) { r.Method = http.MethodPut }, "/v1/messages?beta=true", "{}"),
		"the backend":             of(func(r *http.Request) { r.Header.Set("X-Claude-Backend", "direct") }, "/v1/messages?beta=true", "{}"),
		"no backend":              of(func(r *http.Request) { r.Header.Del("X-Claude-Backend") }, "/v1/messages?beta=true", "{}"),
		"the version":             of(func(r *http.Request) { r.Header.Set("Anthropic-Version", "x") }, "/v1/messages?beta=true", "{}"),
		"a beta":                  of(func(r *http.Request) { r.Header.Set("Anthropic-Beta", "x") }, "/v1/messages?beta=true", "{}"),
		"a beta that is the body": of(func(r *http.Request) { r.Header.Set("Anthropic-Beta", "{}") }, "/v1/messages?beta=true", ""),
	} {
		if former, found := seen[got]; found {
			t.Errorf("%s makes the same request as %s", name, former)
		}
		seen[got] = name
	}
}

func FuzzReadKey(f *testing.F) {
	for _, seed := range []string{"k", `"k"`, `"a\"b"`, `"`, ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := readKey(http.Header{"Idempotency-Key": {text}})
		if err != nil {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := readKey(http.Header{"Idempotency-Key": {quoted}}); again != key || err != nil {
			t.Errorf("%q is %q; in quotation marks %q, %v", text, key, again, err)
		}
	})
}
