package main

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// TestPlantedSecretsStayWhereTheyAre gives the service every secret that it may
// have, has it serve, refuse and fail on both backends, and looks for them wherever
// something is written or shown. The password in a database's URL is looked for by
// TestPostgresRefused and TestPostgresKill.
func TestPlantedSecretsStayWhereTheyAre(t *testing.T) {
	const (
		token    = "planted-auth-token-0123456789"
		passed   = "planted-variable-for-the-cli"
		hookPath = "planted-path-of-the-receiver"
		hook     = "whsec_cGxhbnRlZC13ZWJob29rLXNlY3JldC0wMTIz"
		wrong    = "planted-wrong-key-0123456789"
		once     = "planted-idempotency-key"
		prompt   = "planted-words-of-a-prompt"
		collects = "planted-token-of-the-collector"
	)
	cli := clitest.Path(t, install.Version)
	certificate, key, client := selfSigned(t)
	receiver := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(receiver.Close)
	// A collector that refuses what it gets, and says by which token it came.
	var mu sync.Mutex
	var collected strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		collected.Write(body)
		mu.Unlock()
		http.Error(w, "no such token: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	}))
	t.Cleanup(collector.Close)
	s := serve(t, newUpstream(t).url, cli,
		"OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20"+collects, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_METRIC_EXPORT_INTERVAL=500",
		"--tls-cert="+certificate, "--tls-key="+key, "--claude-env=FOO_PASSED", "--sdk-max-retries=0",
		"ANTHROPIC_AUTH_TOKEN="+token, "FOO_PASSED="+passed, "FOO_SECRET="+plantedSecret,
		"CLAUDE_API_WEBHOOK_URL="+receiver.URL+"/"+hookPath, "CLAUDE_API_WEBHOOK_SECRET="+hook)
	s.client = client
	s.ready(t)
	(&stand{service: s}).idle(t)
	limited := command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "-q", "--budget-tokens-month=1000000", "--soft-budget-percent=1")
	admin := command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "--admin", "-q")
	pemText, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}

	var refusals []string
	ask := func(path, body string, headers ...string) {
		t.Helper()
		if a := s.post(t, path, body, headers...); a.status >= 400 {
			refusals = append(refusals, a.body)
		}
	}
	for _, backend := range []string{"cli", "direct"} {
		for i, endpoint := range endpoints {
			on := []string{"X-Claude-Backend", backend}
			ask(endpoint.path, endpoint.body(prompt), append(on, "Idempotency-Key", once+backend+strconv.Itoa(i))...)
			for _, directive := range []string{" [[error=401]]", " [[error=400]]", " [[error=529]]", " [[cut-after=1]]"} {
				ask(endpoint.path, endpoint.body(prompt+directive), on...)
			}
			ask(endpoint.path, endpoint.body(prompt)+"}", on...)
			ask(endpoint.path, endpoint.body(prompt+" [[tokens=4000]]"), append(on, "Authorization", "Bearer "+limited)...)
			ask(endpoint.path, endpoint.body(prompt), append(on, "Authorization", "Bearer "+admin)...)
		}
	}
	for _, headers := range [][]string{{"Authorization", "Bearer " + wrong}, {"Authorization", "", "X-Api-Key", wrong}, {"Authorization", "Basic " + wrong}} {
		ask("/v1/messages", messagesBody(prompt), headers...)
	}
	if len(refusals) < 30 {
		t.Errorf("only %d requests were refused or failed", len(refusals))
	}
	lines, leave := s.open(t, "/v1/chat/completions", chat(prompt+" [[tokens=1000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "cli")
	until(t, lines, "Echo")
	defer leave()

	shown := map[string]string{"refusals": strings.Join(refusals, "\n")}
	for _, path := range []string{"/", "/health", "/ready", "/metrics", "/openapi.json", "/docs", "/v1/models", "/v1/usage", "/v1/providers"} {
		shown[path] = s.get(t, path).body
	}
	processes, environments := map[string]string{}, map[string]string{}
	children := descendants(t, s.cmd.Process.Pid)
	if len(children) < 2 {
		t.Fatalf("the service has the processes %v below it, want two workers", children)
	}
	for _, pid := range append(children, s.cmd.Process.Pid) {
		processes["arguments of "+strconv.Itoa(pid)] = proc(t, pid, "cmdline")
	}
	for _, pid := range children {
		environments["environment of worker "+strconv.Itoa(pid)] = proc(t, pid, "environ")
	}
	files := contents(t, s.data)
	leave()
	s.signal(t, syscall.SIGTERM)
	s.exit(t)
	for path, text := range contents(t, s.data) {
		files[path+" after the end"] = text
	}
	shown["log"], shown["standard output"] = s.stderr.String(), s.stdout.String()
	mu.Lock()
	shown["what the collector got"] = collected.String()
	mu.Unlock()
	if !strings.Contains(shown["what the collector got"], "gen_ai.request.model") || !strings.Contains(shown["log"], "[redacted]") {
		t.Errorf("the collector got %d bytes, and the log is %.2000s", len(shown["what the collector got"]), shown["log"])
	}
	for name, args := range map[string][]string{
		"audit log": {"audit", "export"}, "ledger": {"usage", "export"}, "keys": {"keys", "list"},
	} {
		shown[name] = command(t, s.env, append(args, "--data-dir="+s.data)...)
	}
	if shown["audit log"] == "" || shown["ledger"] == "" || len(files) < 2 {
		t.Fatalf("nothing to look at: %d files", len(files))
	}

	everywhere := []map[string]string{shown, processes, environments, files}
	secrets := []struct {
		what, text string
		places     []map[string]string
	}{
		{"the caller's key", hidden(s.key), everywhere},
		{"the other caller's key", hidden(limited), everywhere},
		{"the admin key", hidden(admin), everywhere},
		{"a wrong key", wrong, everywhere},
		{"an Idempotency-Key", once, everywhere},
		{"the webhook's secret", strings.TrimPrefix(hook, "whsec_"), everywhere},
		{"the webhook's address", hookPath, everywhere},
		{"the collector's token", collects, everywhere},
		{"the TLS key", strings.Split(string(pemText), "\n")[1], everywhere},
		{"a variable of the machine", plantedSecret, everywhere},
		// The CLI has its credentials in its environment, and what is passed on to it.
		{"the upstream's key", plantedKey, []map[string]string{shown, processes, files}},
		{"the upstream's token", token, []map[string]string{shown, processes, files}},
		{"a variable for the CLI", passed, []map[string]string{shown, processes, files}},
		// Answers that are asked for again are kept in the data folder, and quote it.
		{"a prompt", prompt, []map[string]string{shown, processes, environments}},
	}
	for _, secret := range secrets {
		for _, places := range secret.places {
			for place, text := range places {
				if at := strings.Index(text, secret.text); at >= 0 {
					t.Errorf("%s is in %s: %.300s", secret.what, place, text[max(0, at-150):])
				}
			}
		}
	}
	for place, text := range environments {
		for _, needed := range []string{plantedKey, passed} {
			if !strings.Contains(text, needed) {
				t.Errorf("%s doesn't hold %s: the others show nothing", place, needed)
			}
		}
	}
}

// hidden is the part of a key that nobody sees, other than its visible prefix.
func hidden(key string) string { return key[len(key)-20:] }

// contents reads every file below a folder.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		files["file "+filepath.Base(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// selfSigned gives files with a certificate for 127.0.0.1 and its key, and a client
// that believes it.
func selfSigned(t *testing.T) (certificate, key string, client *http.Client) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client = server.Client()
	t.Cleanup(client.CloseIdleConnections)
	return certificate, key, client
}
