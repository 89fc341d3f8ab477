package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/install"
)

// healthy is an installation of which nothing is wrong, in folders of the test's own.
func healthy(t *testing.T) *Installation {
	t.Helper()
	folder := t.TempDir()
	data := filepath.Join(folder, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	program := script(t, folder, "claude-api", "")
	return &Installation{
		Program: Program{Version: "1.2.3", Path: program},
		DataDir: data, DatabasePath: filepath.Join(data, "claude-api.db"),
		Look: func(context.Context) (Database, error) {
			return Database{Kind: "sqlite", Exists: true, Version: "3", Schema: 8, Target: 8, Keys: 2, Admins: 1}, nil
		},
		Addresses: []string{unused(t)}, SocketMode: 0o600,
		CLI: script(t, folder, "claude", "echo '"+install.Version+" (Claude Code)'"),
		Probe: func(context.Context) (string, bool, error) {
			return "Claude Code " + install.Version + ": warm workers", false, nil
		},
		Credentials: Credentials{APIKey: "sk-ant-invented-0123456789"},
		MaxWorkers:  2, MaxTasks: 1,
		Confined:  func() (bool, string, error) { return true, "Landlock ABI 6", nil },
		Leftovers: func() ([]Leftover, error) { return nil, nil },
		Getenv:    func(name string) string { return map[string]string{"PATH": "/usr/bin:/bin"}[name] },
		TempDir:   t.TempDir(), Home: filepath.Join(folder, "home"),
	}
}

// script writes a program of the shell's.
func script(t *testing.T, folder, name, text string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	write(t, path, "#!/bin/sh\n"+text+"\n", 0o700)
	return path
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// unused gives an address on which nothing listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificateFor writes a certificate and its key.
func certificateFor(t *testing.T, in *Installation, from, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"api.example"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	in.TLSCert, in.TLSKey = filepath.Join(in.DataDir, "cert.pem"), filepath.Join(in.DataDir, "key.pem")
	write(t, in.TLSCert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
	write(t, in.TLSKey, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})), 0o600)
}

// listens serves a handler where the installation would listen.
func listens(t *testing.T, in *Installation, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	in.Addresses = []string{server.Listener.Addr().String()}
}

// serves is a service with these answers; those that aren't given are all well.
func serves(t *testing.T, in *Installation, answers map[string]string) {
	t.Helper()
	listens(t, in, func(w http.ResponseWriter, r *http.Request) {
		answer := answers[r.URL.Path]
		if answer == "" {
			answer = map[string]string{
				"/health":  `{"status":"ok","version":"1.2.3","uptime_seconds":61.5,"services":{"cli":{"status":"ok","detail":"2 idle"}}}`,
				"/ready":   `{"ready":true,"reason":""}`,
				"/metrics": "# HELP x\nclaude_api_cli_workers{state=\"idle\"} 2\nclaude_api_cli_queue_length 0\nclaude_api_breaker_state{backend=\"cli\",family=\"haiku\"} 0\n",
			}[r.URL.Path]
		}
		if strings.Contains(answer, `"ready":false`) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, answer)
	})
}

// TestEachThingThatIsWrongIsFound breaks an installation in one place at a time.
func TestEachThingThatIsWrongIsFound(t *testing.T) {
	soon, past := time.Now().Add(48*time.Hour), time.Now().Add(-time.Hour)
	for _, test := range []struct {
		name   string
		spoil  func(t *testing.T, in *Installation)
		check  string
		status Status
		detail string // a part of it
		mend   string // a part of it
	}{
		{"the program may be replaced", func(t *testing.T, in *Installation) { chmod(t, in.Program.Path, 0o777) }, "version", Fail, "may replace", "chmod o-w"},
		{"a setting is wrong", func(_ *testing.T, in *Installation) { in.SettingsError = errors.New("--max-workers: must be") }, "configuration", Fail, "--max-workers", "docs/configuration.md"},
		{"the file may be changed", func(t *testing.T, in *Installation) {
			in.File = filepath.Join(in.DataDir, "config.yaml")
			write(t, in.File, "", 0o666)
		}, "configuration", Fail, "may be changed by others (0666)", "chmod go-w"},
		{"the file has gone", func(_ *testing.T, in *Installation) { in.File = "/nowhere/config.yaml" }, "configuration", Fail, "/nowhere", "--config"},
		{"set twice", func(_ *testing.T, in *Installation) {
			in.Settings = []Setting{{Flag: "--max-workers", Value: "2", Source: "CLAUDE_API_MAX_WORKERS", Unheard: []string{"MAX_WORKERS"}}}
		}, "settings", Warn, "CLAUDE_API_MAX_WORKERS is heard, MAX_WORKERS isn't", "in one place"},
		{"an old name", func(_ *testing.T, in *Installation) {
			in.Settings = []Setting{{Flag: "--port", Value: "1", Source: "PORT", New: "CLAUDE_API_PORT"}}
		}, "old-names", Warn, "PORT", "call it CLAUDE_API_PORT"},

		{"no data folder yet", func(_ *testing.T, in *Installation) { in.DataDir += "/new/one" }, "data-folder", Warn, "isn't there yet", "mkdir"},
		{"the data folder can't be made", func(t *testing.T, in *Installation) {
			linux(t)
			in.DataDir = "/proc/nowhere"
		}, "data-folder", Fail, "can't be made", "--data-dir"},
		{"the data folder is a file", func(t *testing.T, in *Installation) {
			in.DataDir = filepath.Join(in.DataDir, "file")
			write(t, in.DataDir, "", 0o600)
		}, "data-folder", Fail, "is no folder", "--data-dir"},
		{"others may look into it", func(t *testing.T, in *Installation) { chmod(t, in.DataDir, 0o755) }, "data-folder", Warn, "looked into by others (0755)", "chmod 0700"},
		{"others may change it", func(t *testing.T, in *Installation) { chmod(t, in.DataDir, 0o777) }, "data-folder", Fail, "changed by others (0777)", "chmod 0700"},
		{"a key that others may read", func(t *testing.T, in *Installation) {
			write(t, filepath.Join(in.DataDir, "keys", "a.key"), "cc_", 0o644)
		}, "private-files", Fail, "a.key can be read by others (0644)", "chmod 0600"},
		{"a database that others may read", func(t *testing.T, in *Installation) { write(t, in.DatabasePath, "", 0o640) }, "private-files", Fail, "claude-api.db", "chmod 0600"},
		{"a login that others may read", func(t *testing.T, in *Installation) {
			in.ClaudeHome = t.TempDir()
			write(t, loginFile(in.ClaudeHome), "{}", 0o604)
		}, "private-files", Fail, ".credentials.json", "chmod 0600"},
		{"a secret that others may read", func(t *testing.T, in *Installation) {
			path := filepath.Join(in.DataDir, "secret")
			write(t, path, "x", 0o644)
			in.Credentials.Files = []string{path}
		}, "private-files", Fail, "secret", "chmod 0600"},
		{"the database doesn't answer", func(_ *testing.T, in *Installation) {
			in.Look = func(context.Context) (Database, error) { return Database{}, errors.New("file is not a database") }
		}, "database", Fail, "not a database", "last backup"},
		{"the server doesn't answer", func(_ *testing.T, in *Installation) {
			in.DatabasePath = ""
			in.Look = func(context.Context) (Database, error) { return Database{}, errors.New("connection refused") }
		}, "database", Fail, "refused", "server runs"},
		{"a newer schema", look(Database{Exists: true, Schema: 9, Target: 8}), "database", Fail, "a newer version", "install the newer version"},
		{"an older schema", look(Database{Exists: true, Schema: 7, Target: 8}), "database", Warn, "the next start brings it to schema 8", "back it up"},
		{"a slow database", look(Database{Exists: true, Latency: time.Second}), "database", Warn, "1000.0 ms", "nearer"},
		{"no keys", look(Database{Exists: true}), "keys", Warn, "nobody can call", "keys create"},
		{"keys of administrators alone", look(Database{Exists: true, Keys: 1, Admins: 1}), "keys", Warn, "nobody can call", "keys create"},

		{"another program listens", func(t *testing.T, in *Installation) {
			listens(t, in, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
		}, "address", Fail, "another program", "--listen"},
		{"another version runs", func(t *testing.T, in *Installation) {
			serves(t, in, nil)
			in.Program.Version = "1.2.4"
		}, "address", Warn, "there is 1.2.3, and this program 1.2.4", "restart"},
		{"something listens and is silent", func(t *testing.T, in *Installation) {
			release := make(chan struct{})
			listens(t, in, func(http.ResponseWriter, *http.Request) { <-release })
			t.Cleanup(func() { close(release) })
		}, "address", Fail, "doesn't answer", "ss -ltnp"},
		{"not an address of this machine", func(_ *testing.T, in *Installation) { in.Addresses = []string{"192.0.2.1:8006"} }, "address", Fail, "192.0.2.1", "--listen"},
		{"open to the network", func(_ *testing.T, in *Installation) { in.Addresses = []string{"0.0.0.0:0"} }, "reach", Warn, "can be reached", "--tls-cert"},
		{"no certificate there", func(_ *testing.T, in *Installation) { in.TLSCert, in.TLSKey = "/nowhere/cert", "/nowhere/key" }, "certificate", Fail, "/nowhere", "--tls-cert"},
		{"an expired certificate", func(t *testing.T, in *Installation) { certificateFor(t, in, past.Add(-time.Hour), past) }, "certificate", Fail, "has expired", "renew"},
		{"a certificate of tomorrow", func(t *testing.T, in *Installation) { certificateFor(t, in, soon, soon.Add(time.Hour)) }, "certificate", Fail, "holds only from", "clock"},
		{"a certificate that ends soon", func(t *testing.T, in *Installation) { certificateFor(t, in, past, soon) }, "certificate", Warn, "expires soon", "renew"},
		{"a certificate's key that others may read", func(t *testing.T, in *Installation) {
			certificateFor(t, in, past, past.AddDate(1, 0, 0))
			chmod(t, in.TLSKey, 0o644)
		}, "private-files", Fail, "key.pem", "chmod 0600"},
		{"no folder for the socket", func(_ *testing.T, in *Installation) { in.Addresses = []string{"unix:/nowhere/s"} }, "socket", Fail, "/nowhere", "mkdir"},
		{"a file where the socket should be", func(t *testing.T, in *Installation) {
			write(t, filepath.Join(in.DataDir, "s"), "", 0o600)
			in.Addresses = []string{"unix:" + filepath.Join(in.DataDir, "s")}
		}, "socket", Fail, "is no socket", "move it away"},
		{"a socket for everybody", func(t *testing.T, in *Installation) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			chmod(t, path, 0o666)
			in.Addresses = []string{"unix:" + path}
		}, "socket", Warn, "(0666) than --socket-mode says (0600)", "chmod 0600"},

		{"no CLI", func(_ *testing.T, in *Installation) { in.CLI = "" }, "cli", Warn, "no Claude Code CLI", "npm install"},
		{"no CLI and no key", func(_ *testing.T, in *Installation) { in.CLI, in.Credentials = "", Credentials{} }, "cli", Fail, "nothing to serve", "ANTHROPIC_API_KEY"},
		{"switched off, and no key", func(_ *testing.T, in *Installation) { in.CLIOff, in.Credentials = true, Credentials{} }, "cli", Fail, "nothing to serve", "ANTHROPIC_API_KEY"},
		{"the CLI has gone", func(_ *testing.T, in *Installation) { in.CLI = "/nowhere/claude" }, "cli", Fail, "/nowhere/claude", "npm install"},
		{"the CLI can't be run", func(t *testing.T, in *Installation) { chmod(t, in.CLI, 0o600) }, "cli", Fail, "no program", "chmod +x"},
		{"the CLI may be replaced", func(t *testing.T, in *Installation) { chmod(t, in.CLI, 0o777) }, "cli", Fail, "may replace", "chmod o-w"},
		{"an old CLI", func(t *testing.T, in *Installation) { in.CLI = script(t, in.DataDir, "claude", "echo 1.0.9") }, "cli-version", Warn, "1.0.9 is older", "npm install"},
		{"a CLI that fails", func(t *testing.T, in *Installation) { in.CLI = script(t, in.DataDir, "claude", "exit 1") }, "cli-version", Fail, "exit status 1", "--version"},
		{"a CLI that can't be driven", func(_ *testing.T, in *Installation) {
			in.Probe = func(context.Context) (string, bool, error) { return "", false, errors.New("no mode works") }
		}, "cli-probe", Fail, "no mode works", install.Version},
		{"a CLI that can't be emptied", func(_ *testing.T, in *Installation) {
			in.Probe = func(context.Context) (string, bool, error) { return "a fresh parked process per request", true, nil }
		}, "cli-probe", Warn, "a process of its own", install.Version},
		{"no credential", func(_ *testing.T, in *Installation) { in.Credentials = Credentials{} }, "credential", Fail, "no credential", "--claude-home"},
		{"no login", func(t *testing.T, in *Installation) {
			linux(t)
			in.Credentials, in.ClaudeHome = Credentials{}, t.TempDir()
		}, "credential", Fail, "isn't logged in", "/login"},
		{"a key with a line's end", func(_ *testing.T, in *Installation) { in.Credentials.APIKey += "\n" }, "credential", Fail, "a line's end", "again"},
		{"a cut key", func(_ *testing.T, in *Installation) { in.Credentials.APIKey = "sk-ant" }, "credential", Warn, "shorter", "whole"},
		{"a key of ours", func(_ *testing.T, in *Installation) {
			in.Credentials.APIKey = "cc_0123456789012345678901234567890123456789"
		}, "credential", Fail, "of this service", "console"},
		{"two credentials", func(_ *testing.T, in *Installation) { in.Credentials.AuthToken = "another-0123456789-0123456789" }, "credential", Warn, "both", "unset"},
		{"an upstream that is no URL", func(_ *testing.T, in *Installation) { in.BaseURL = "api.anthropic.com" }, "upstream", Fail, "no http", "address"},
		{"an upstream in clear", func(_ *testing.T, in *Installation) { in.BaseURL = "http://api.example" }, "upstream", Fail, "whoever is on the way", "https"},
		{"an upstream that refuses", func(t *testing.T, in *Installation) { answersOnline(t, in, http.StatusUnauthorized) }, "upstream", Fail, "refuses the credential", "set one"},
		{"an upstream that is ill", func(t *testing.T, in *Installation) { answersOnline(t, in, http.StatusServiceUnavailable) }, "upstream", Warn, "503", "status.anthropic.com"},
		{"an upstream that isn't there", func(t *testing.T, in *Installation) { in.Online, in.BaseURL = true, "http://"+unused(t) }, "upstream", Fail, "can't be reached", "connect"},

		{"no Landlock", func(_ *testing.T, in *Installation) {
			in.Confined = func() (bool, string, error) { return false, "no Landlock", nil }
		}, "confinement", Warn, "no Landlock", "5.13"},
		{"Landlock is required", func(_ *testing.T, in *Installation) {
			in.Confined = func() (bool, string, error) { return false, "", errors.New("no Landlock") }
		}, "confinement", Fail, "require", "--confine auto"},
		{"confinement switched off", func(_ *testing.T, in *Installation) { in.ConfineMode = "off" }, "confinement", Warn, "aren't confined", "--confine auto"},
		{"more workers than memory", func(_ *testing.T, in *Installation) { in.MaxWorkers = 100_000 }, "workers", Warn, "wait for each other", "--max-workers"},
		{"no such time zone", func(_ *testing.T, in *Installation) { in.Getenv = variables("TZ", "Europe/Nowhere") }, "time-zones", Warn, "Europe/Nowhere", "TZ"},
		{"a proxy that is passed on", func(_ *testing.T, in *Installation) {
			in.Getenv, in.ClaudeEnv = variables("HTTPS_PROXY", "http://user:hidden@proxy.example:3128"), []string{"HTTPS_PROXY"}
		}, "proxies", Warn, "go through proxy.example:3128", "--claude-env"},
		{"a variable of the upstream's passed on", func(_ *testing.T, in *Installation) {
			in.Getenv, in.ClaudeEnv = variables("ANTHROPIC_LOG", "debug"), []string{"ANTHROPIC_LOG"}
		}, "proxies", Warn, "ANTHROPIC_LOG", "--claude-env"},
		{"processes of a dead run", func(_ *testing.T, in *Installation) {
			in.Leftovers = func() ([]Leftover, error) { return []Leftover{{"claude-api-run-1", []int{12, 13}}}, nil }
		}, "leftovers", Warn, "12 13", "next start"},

		{"a unit that isn't enabled", func(t *testing.T, in *Installation) {
			linux(t)
			write(t, filepath.Join(in.Home, ".config/systemd/user/claude-api.service"), "", 0o600)
		}, "unit", Warn, "isn't enabled", "systemctl --user enable"},
		{"a part is degraded", func(t *testing.T, in *Installation) {
			serves(t, in, map[string]string{"/health": `{"status":"degraded","version":"1.2.3","services":{"cli":{"status":"degraded","detail":"crash loop"}}}`})
		}, "health", Warn, "cli: crash loop", "operations.md"},
		{"a part is down", func(t *testing.T, in *Installation) {
			serves(t, in, map[string]string{"/health": `{"status":"degraded","version":"1.2.3","services":{"database":{"status":"down","detail":"away"}}}`})
		}, "health", Fail, "database: away", "operations.md"},
		{"not ready", func(t *testing.T, in *Installation) {
			serves(t, in, map[string]string{"/ready": `{"ready":false,"reason":"saturated"}`})
		}, "health", Fail, "not ready: saturated", "reason"},
		{"an open breaker", func(t *testing.T, in *Installation) {
			serves(t, in, map[string]string{"/metrics": "claude_api_breaker_state{backend=\"direct\",family=\"opus\"} 2\n"})
		}, "alarms", Warn, `is open: {backend="direct",family="opus"}`, "log"},
		{"a full queue", func(t *testing.T, in *Installation) {
			serves(t, in, map[string]string{"/metrics": "claude_api_cli_queue_length 20\n"})
		}, "alarms", Fail, "the queue is full: 20", "--max-workers"},
		{"a long queue", func(t *testing.T, in *Installation) {
			serves(t, in, map[string]string{"/metrics": "claude_api_cli_queue_length 11\n"})
		}, "alarms", Warn, "11 of 20", "--max-workers"},
		{"no process runs", func(t *testing.T, in *Installation) {
			serves(t, in, map[string]string{"/metrics": "claude_api_cli_workers{state=\"idle\"} 0\nclaude_api_cli_workers{state=\"busy\"} 0\n"})
		}, "alarms", Fail, "no CLI process", "cli-probe"},
		{"it has crashed", func(t *testing.T, in *Installation) {
			write(t, filepath.Join(in.DataDir, "service.log"), "level=INFO msg=serving\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\n", 0o600)
		}, "crash", Warn, "panic: runtime error", "report"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := healthy(t)
			test.spoil(t, in)
			var found []Finding
			for _, f := range Examine(t.Context(), in) {
				if f.Check == test.check && f.Status == test.status {
					found = append(found, f)
				}
				if text := f.Detail + f.Mend; strings.Contains(text, "hidden") || in.Credentials.APIKey != "" && strings.Contains(text, in.Credentials.APIKey) {
					t.Errorf("%s tells a secret: %+v", f.Check, f)
				}
			}
			for _, f := range found {
				if strings.Contains(f.Detail, test.detail) && strings.Contains(f.Mend, test.mend) {
					return
				}
			}
			t.Errorf("%s isn't %s with %q, to be mended by %q: %+v", test.check, test.status, test.detail, test.mend, found)
		})
	}
}

func look(d Database) func(*testing.T, *Installation) {
	return func(_ *testing.T, in *Installation) {
		in.Look = func(context.Context) (Database, error) { return d, nil }
	}
}

func variables(name, value string) func(string) string {
	return func(asked string) string {
		if asked == name {
			return value
		}
		return ""
	}
}

// answersOnline makes an upstream that answers so, and lets it be asked.
func answersOnline(t *testing.T, in *Installation, status int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/models" || r.Header.Get("X-Api-Key") != in.Credentials.APIKey {
			t.Errorf("it is asked %s", r.URL)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	in.Online, in.BaseURL = true, server.URL
}

func linux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("Linux's own")
	}
}

// TestHealthy finds nothing wrong where nothing is, with and without a service that runs.
func TestHealthy(t *testing.T) {
	for name, prepare := range map[string]func(in *Installation){
		"at rest": func(*Installation) {},
		"running": func(in *Installation) { serves(t, in, nil) },
		"online":  func(in *Installation) { answersOnline(t, in, http.StatusOK) },
		"a group of its own for the key": func(in *Installation) {
			certificateFor(t, in, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
			chmod(t, in.TLSKey, 0o640)
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := healthy(t)
			prepare(in)
			for _, f := range Examine(t.Context(), in) {
				if f.Status == Fail || f.Status == Warn {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// TestTheUpstreamIsNotAsked unless that was said.
func TestTheUpstreamIsNotAsked(t *testing.T) {
	in := healthy(t)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) }))
	defer server.Close()
	in.BaseURL = server.URL
	for _, f := range Examine(t.Context(), in) {
		if f.Check == "upstream" && (f.Status != Skip || !strings.Contains(f.Detail, "--online")) {
			t.Errorf("%+v", f)
		}
	}
}

// TestFixes mends what can be mended, and looks again.
func TestFixes(t *testing.T) {
	in := healthy(t)
	in.File = filepath.Join(in.DataDir, "config.yaml")
	key := filepath.Join(in.DataDir, "keys", "a.key")
	write(t, in.File, "", 0o666)
	write(t, key, "", 0o644)
	write(t, in.DatabasePath, "", 0o644)
	chmod(t, in.DataDir, 0o777)
	mended := 0
	for _, f := range Examine(t.Context(), in) {
		if f.Fix == nil {
			continue
		}
		if err := f.Fix.Do(); err != nil {
			t.Errorf("%s: %v", f.Fix.What, err)
		}
		mended++
	}
	if mended != 4 {
		t.Errorf("%d things were mended, want 4", mended)
	}
	if worst := Worst(Examine(t.Context(), in)); worst != OK {
		t.Errorf("it is %s still: %+v", worst, Examine(t.Context(), in))
	}
	for path, want := range map[string]fs.FileMode{in.DataDir: 0o700, in.File: 0o644, key: 0o600, in.DatabasePath: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}

	in = healthy(t)
	in.DataDir = filepath.Join(in.DataDir, "a", "b")
	for _, f := range Examine(t.Context(), in) {
		if f.Fix != nil {
			if err := f.Fix.Do(); err != nil {
				t.Error(err)
			}
		}
	}
	if info, err := os.Stat(in.DataDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}
}

// TestNothingHangs: checks that don't end, and one that panics, keep nothing of the
// others.
func TestNothingHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	found := examine(t.Context(), healthy(t), []check{
		{"A", "hangs", true, func(context.Context, *Installation) []Finding { <-release; return nil }},
		{"A", "well", true, func(context.Context, *Installation) []Finding { return ok("fine") }},
		{"A", "panics", true, func(context.Context, *Installation) []Finding { panic("oh") }},
	}, 200*time.Millisecond)
	if len(found) != 3 || found[0].Status != Fail || !strings.Contains(found[0].Detail, "200ms") ||
		found[1].Status != OK || found[2].Status != Fail || !strings.Contains(found[2].Detail, "oh") {
		t.Errorf("%+v", found)
	}
}

// TestWithoutSettings makes the checks that need none.
func TestWithoutSettings(t *testing.T) {
	in := &Installation{SettingsError: errors.New("broken.yaml: line 2"), Unread: true, Getenv: func(string) string { return "" }}
	states := map[string]Status{}
	for _, f := range Examine(t.Context(), in) {
		states[f.Check] = f.Status
	}
	if states["configuration"] != Fail || states["database"] != Skip || states["address"] != Skip || states["clock"] == Skip || len(states) != len(Names()) {
		t.Errorf("%v", states)
	}
}

// TestJudgements tries what no test can make of a machine.
func TestJudgements(t *testing.T) {
	in := healthy(t)
	for _, test := range []struct {
		name   string
		found  []Finding
		status Status
		detail string
	}{
		{"few files", judgeLimits(in, 1024, 0), Warn, "1024"},
		{"few processes", judgeLimits(in, 0, 100), Fail, "100"},
		{"enough", judgeLimits(in, 4096, 120), OK, "open files: 4096"},
		{"no limits", judgeLimits(in, 0, 0), OK, "no limit"},
		{"little memory", judgeWorkers(in, 2, 1<<30), Fail, "3 CLI processes need about 1.1 GiB"},
		{"memory that isn't known", judgeWorkers(in, 2, 0), OK, "2 cores"},
		{"a full disk", judgeFree("data", "/x", 1<<20), Fail, "only 1 MiB free for data in /x"},
		{"a disk that fills", judgeFree("data", "/x", 500<<20), Warn, "only 500 MiB"},
		{"a clock of 1970", judgeClock(time.Unix(0, 0), time.Second, time.Second), Fail, "1970"},
		{"a clock that jumps", judgeClock(time.Now(), time.Second, 3*time.Second), Warn, "2s"},
		{"a clock that goes back", judgeClock(time.Now(), time.Second, -time.Second), Warn, "2s"},
		{"a newer CLI", judgeVersion("2.10.0"), OK, "finds out"},
		{"the older pinned CLI", judgeVersion(install.OlderVersion), OK, "tested"},
		{"launchd without an agent", lookForUnit("darwin", t.TempDir(), t.TempDir()), Skip, "service install"},
		{"systemd without a unit", lookForUnit("linux", t.TempDir(), t.TempDir()), Skip, "service install"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if len(test.found) != 1 || test.found[0].Status != test.status || !strings.Contains(test.found[0].Detail, test.detail) {
				t.Errorf("%+v, want %s with %q", test.found, test.status, test.detail)
			}
			if f := test.found[0]; (f.Status == Warn || f.Status == Fail) && f.Mend == "" {
				t.Error("it isn't said how to mend it")
			}
		})
	}
}

// TestUnits finds what starts the service with the machine.
func TestUnits(t *testing.T) {
	home, root := t.TempDir(), t.TempDir()
	unit := filepath.Join(root, "usr/lib/systemd/system/claude-api.service")
	write(t, unit, "", 0o644)
	if found := lookForUnit("linux", home, root); found[0].Status != Warn || found[0].Mend != "systemctl enable --now claude-api" {
		t.Errorf("%+v", found)
	}
	write(t, filepath.Join(root, "etc/systemd/system/sockets.target.wants/claude-api.socket"), "", 0o644)
	if found := lookForUnit("linux", home, root); found[0].Status != OK || !strings.Contains(found[0].Detail, unit) {
		t.Errorf("%+v", found)
	}
	write(t, filepath.Join(home, "Library/LaunchAgents/x.claude-api.plist"), "", 0o644)
	if found := lookForUnit("darwin", home, root); found[0].Status != OK {
		t.Errorf("%+v", found)
	}
}

// TestThePageListsEveryCheck holds docs/doctor.md against the table.
func TestThePageListsEveryCheck(t *testing.T) {
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(page)) {
		if rest, found := strings.CutPrefix(line, "| `"); found {
			name, _, _ := strings.Cut(rest, "`")
			listed = append(listed, name)
		}
	}
	if got, want := strings.Join(listed, " "), strings.Join(Names(), " "); got != want {
		t.Errorf("the page lists\n%s, the table\n%s", got, want)
	}
}
