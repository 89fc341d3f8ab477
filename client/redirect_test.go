package client_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"claude-code-api-service/client"
)

// The key is for the address that was given: what answers there can't send it, or a
// prompt, to another one.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer service.Close()
	for name, own := range map[string]*http.Client{"its own": nil, "the caller's": service.Client()} {
		c, err := client.New(client.Options{URL: service.URL, Key: "a secret", HTTP: own})
		if err != nil {
			t.Fatal(err)
		}
		for what, call := range map[string]func() error{
			"Process": func() error {
				_, err := c.Process(t.Context(), client.ProcessRequest{Provider: "anthropic", Model: "haiku", Prompt: "a secret"})
				return err
			},
			"Health":   func() error { _, err := c.Health(t.Context()); return err },
			"Overview": func() error { _, err := c.Admin().Overview(t.Context()); return err },
			"ProcessStream": func() error {
				for _, err := range c.ProcessStream(t.Context(), client.ProcessRequest{Provider: "anthropic", Model: "haiku", Prompt: "a secret"}) {
					return err
				}
				return nil
			},
			"Stream": func() error {
				s, err := c.Stream(t.Context())
				if err == nil {
					_ = s.Close()
				}
				return err
			},
		} {
			err := call()
			var told *client.Error
			if what == "Stream" && err == nil || what != "Stream" && (!errors.As(err, &told) || told.Status != http.StatusTemporaryRedirect) {
				t.Errorf("%s, with %s client: %v", what, name, err)
			}
		}
		c.Close()
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
	if service.Client().CheckRedirect != nil {
		t.Error("the caller's client was changed")
	}
}
