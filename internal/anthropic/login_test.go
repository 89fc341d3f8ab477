package anthropic

import (
	"bytes"
	"net/http"
	"testing"

	"claude-code-api-service/internal/apierror"
)

// TestCallersLogin sends on what the caller has logged in with, and leaves a refusal of
// it to the caller; a caller's credential goes nowhere else.
func TestCallersLogin(t *testing.T) {
	upstream, own := simulate(t)
	login, err := New(Options{BaseURL: upstream.URL(), CallersLogin: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(login.Close)
	ask := func(b *Backend, words string) error {
		call := newCall(t, prompt("false", words), "claude-haiku-5-5")
		call.Forward = http.Header{"Authorization": {"Bearer of the caller"}, "X-Api-Key": {"of the caller"}, "User-Agent": {"claude-cli/1"}}
		_, err := b.Generate(t.Context(), call, &recorder{})
		return err
	}
	for _, b := range []*Backend{login, own} {
		if err := ask(b, "hello"); err != nil {
			t.Error(err)
		}
	}
	seen := upstream.Requests()
	if h := seen[0].Header; h.Get("Authorization") != "Bearer of the caller" || h.Get("X-Api-Key") != "" || h.Get("User-Agent") != "claude-cli/1" {
		t.Errorf("with the caller's login: %v", h)
	}
	if h := seen[1].Header; h.Get("Authorization") != "" || h.Get("X-Api-Key") != "sk-test" {
		t.Errorf("with the service's credential: %v", h)
	}
	for b, ours := range map[*Backend]bool{login: false, own: true} {
		e := apierror.From(ask(b, "[[error=401]]"))
		if e == nil || e.Category != apierror.AuthError || e.Upstream.OurCredential != ours || !bytes.Contains(e.Upstream.Body, []byte("authentication_error")) {
			t.Errorf("ours %v: %+v", ours, e)
		}
	}
}
