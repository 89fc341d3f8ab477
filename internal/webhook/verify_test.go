package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/webhook"
)

const page = "../../docs/webhook.md"

// What follows is the example of docs/webhook.md; a test holds both together.
func verify(secret string, header http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		return err
	}
	if age := time.Since(time.Unix(seconds, 0)); age.Abs() > 5*time.Minute {
		return errors.New("the message is too old, or from the future")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(fmt.Appendf(nil, "%s.%d.%s", header.Get("Webhook-Id"), seconds, body))
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, signature := range strings.Fields(header.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(signature), []byte(expected)) {
			return nil
		}
	}
	return errors.New("the signature is wrong")
}

// example gives a program of the page.
func example(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```"+language+"\n")
	program, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("%s has no example in %s", page, language)
	}
	return program
}

// posted is a message as it came over the network.
type posted struct {
	header http.Header
	body   []byte
}

func post(t *testing.T) posted {
	t.Helper()
	got := make(chan posted, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- posted{r.Header, body}
	}))
	defer server.Close()
	sender, err := webhook.New(t.Context(), webhook.Options{URL: server.URL, Secret: secret, Archive: archive.New(archive.Options{Store: newMemory()})})
	if err != nil {
		t.Fatal(err)
	}
	sender.Notify((&stand{}).event("größer"))
	if err := sender.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return <-got
}

// TestTheExamplesCheckWhatIsSent gives a message, and forged ones, to the programs
// of docs/webhook.md.
func TestTheExamplesCheckWhatIsSent(t *testing.T) {
	source, err := os.ReadFile("verify_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), example(t, "go")) {
		t.Error("the example in Go isn't the one that is tested here")
	}
	p := post(t)
	forged := map[string]func(p *posted){
		"the body":   func(p *posted) { p.body = append([]byte(nil), append(p.body, ' ')...) },
		"the id":     func(p *posted) { p.header.Set("Webhook-Id", "msg_0") },
		"the moment": func(p *posted) { p.header.Set("Webhook-Timestamp", strconv.FormatInt(time.Now().Unix()+9, 10)) },
		"long ago":   func(p *posted) { p.header.Set("Webhook-Timestamp", "1000000000") },
		"the signature": func(p *posted) {
			p.header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
		},
		"the scheme": func(p *posted) {
			p.header.Set("Webhook-Signature", strings.Replace(p.header.Get("Webhook-Signature"), "v1,", "v2,", 1))
		},
	}
	checks := map[string]func(t *testing.T, p posted) bool{
		"Go": func(_ *testing.T, p posted) bool { return verify(secret, p.header, p.body) == nil },
	}
	if python, err := exec.LookPath("python3"); err == nil {
		program := example(t, "python") + `
import json, sys
given = json.load(sys.stdin)
try:
    verify(given["secret"], given["headers"], given["body"].encode())
except ValueError as e:
    sys.exit(str(e))
`
		checks["Python"] = func(t *testing.T, p posted) bool {
			headers := map[string]string{}
			for name := range p.header {
				headers[strings.ToLower(name)] = p.header.Get(name)
			}
			given, err := json.Marshal(map[string]any{"secret": secret, "headers": headers, "body": string(p.body)})
			if err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), python, "-c", program)
			command.Stdin = strings.NewReader(string(given))
			out, err := command.CombinedOutput()
			if err != nil && strings.Contains(string(out), "Traceback") {
				t.Errorf("%s", out)
			}
			return err == nil
		}
	}
	for language, accepts := range checks {
		t.Run(language, func(t *testing.T) {
			if !accepts(t, p) {
				t.Errorf("it refuses %+v", p)
			}
			for name, forge := range forged {
				other := posted{p.header.Clone(), p.body}
				forge(&other)
				if accepts(t, other) {
					t.Errorf("it accepts another one: %s", name)
				}
			}
		})
	}
}
