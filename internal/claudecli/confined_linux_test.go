package claudecli_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/confine"
)

// TestTheRealCLIIsConfined in a HOME with a login, which may be the operator's own:
// the CLI writes in its folder there, and leaves all else as it is.
func TestTheRealCLIIsConfined(t *testing.T) {
	if landlock, what := (confine.Confinement{}).Holds(); !landlock {
		t.Skipf("SKIPPED: %s", what)
	}
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			home := t.TempDir()
			if err := os.Mkdir(filepath.Join(home, ".claude"), 0o700); err != nil {
				t.Fatal(err)
			}
			const login = `{"hasCompletedOnboarding":true}`
			config := filepath.Join(home, ".claude.json")
			if err := os.WriteFile(config, []byte(login), 0o600); err != nil {
				t.Fatal(err)
			}
			upstream := clitest.NewUpstream(t)
			p, err := claudecli.Start(claudecli.Options{
				Path: clitest.Path(t, version), Root: t.TempDir(), Home: home, Model: testModel, Features: bothVersions[version],
				BaseURL: upstream.URL(), APIKey: "sk-simulator",
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			ready(t, p)
			if _, err := p.Turn(t.Context(), jsontext.Value(`"hello"`), claudecli.Handler{}); err != nil {
				t.Fatal(err)
			}
			if text := proc(t, p.PID(), "status"); !strings.Contains(text, "NoNewPrivs:\t1\n") {
				t.Errorf("it may get new privileges:\n%s", text)
			}
			if text, err := os.ReadFile(config); err != nil || string(text) != login {
				t.Errorf(".claude.json is %s, %v", text, err)
			}
			entries, err := os.ReadDir(home)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) != 2 {
				t.Errorf("there is something new in %v", entries)
			}
			if own, err := os.ReadDir(filepath.Join(home, ".claude")); err != nil || len(own) == 0 {
				t.Errorf("it wrote nothing in its own folder: %v", err)
			}
		})
	}
}

// TestRules are those of a process in a folder.
func TestRules(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	variables := []string{
		"NODE_EXTRA_CA_CERTS=/certs/own.pem", "SSL_CERT_DIR=/certs", "CLAUDE_CONFIG_DIR=/config", "HOME=/home/operator", "PATH=/opt/bin:/bin", "SSL_CERT_FILE=relative.pem",
	}
	rules, err := claudecli.Rules(claudecli.Options{Path: self, Home: "/login", Env: variables}, "/run/worker-1")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/dev/null", "/run/worker-1", "/login/.claude", "/config"}; !slices.Equal(rules.Write, want) {
		t.Errorf("it may write in %v, want %v", rules.Write, want)
	}
	for _, path := range []string{"/etc/claude-code", "/login/.claude.json", "/certs/own.pem", "/certs"} {
		if !slices.Contains(rules.Read, path) {
			t.Errorf("it can't read %s", path)
		}
	}
	for _, path := range append(rules.Read, rules.Run...) {
		for _, hidden := range []string{"/", "/etc", "/home", "/home/operator", "/root", "/run", "/tmp", "/var", "/login", "/usr/bin", "/opt/bin", "relative.pem"} {
			if path == hidden {
				t.Errorf("it may read %s", path)
			}
		}
	}
}

func proc(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNothingOfARequestIsAnArgument and whatever the operator calls a model is one.
func TestNothingOfARequestIsAnArgument(t *testing.T) {
	for _, hostile := range []string{"--dangerously-skip-permissions", "-p", "--", "x --allowedTools=Bash", "two\nlines", strings.Repeat("long ", 200_000)} {
		started := hostile
		if len(started) > 100_000 {
			started = testModel // Linux takes no argument of more than 128 KiB
		}
		p := ready(t, startFake(t, func(o *claudecli.Options) { o.Model = started }))
		arguments := proc(t, p.PID(), "cmdline")
		list := strings.Split(strings.TrimSuffix(arguments, "\x00"), "\x00")
		for _, argument := range list[1:] {
			known := argument == "-p" || argument == "--model="+started ||
				strings.HasPrefix(argument, "--") && !strings.ContainsAny(argument, " \n") && !strings.Contains(argument, "dangerously")
			if !known {
				t.Errorf("%.40q is among the arguments %.400q", argument, list)
			}
		}
		if !slices.Contains(list, "--model="+started) {
			t.Errorf("the model isn't one argument of %.400q", list)
		}
		if err := p.Bind(t.Context(), claudecli.Settings{Model: hostile, System: hostile}); err != nil {
			t.Fatal(err)
		}
		prompt, err := json.Marshal(hostile)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := p.Turn(t.Context(), prompt, claudecli.Handler{})
		if err != nil {
			t.Fatal(err)
		}
		if said := string(answer.Content[0]); !strings.Contains(said, strings.Trim(string(prompt), `"`)) {
			t.Errorf("the prompt isn't in the answer: %.200s", said)
		}
		if after := proc(t, p.PID(), "cmdline"); after != arguments {
			t.Errorf("the arguments were %.200q and are %.200q", arguments, after)
		}
	}
}

func TestANULIsRefusedByName(t *testing.T) {
	for field, change := range map[string]func(*claudecli.Options){
		"model":              func(o *claudecli.Options) { o.Model = "a\x00b" },
		"home":               func(o *claudecli.Options) { o.Home = "/a\x00b" },
		"base URL":           func(o *claudecli.Options) { o.BaseURL = "http://a\x00b" },
		"API key":            func(o *claudecli.Options) { o.APIKey = "secret\x00b" },
		"auth token":         func(o *claudecli.Options) { o.AuthToken = "secret\x00b" },
		`variable "SETTING"`: func(o *claudecli.Options) { o.Env = []string{"SETTING=secret\x00b"} },
	} {
		options := claudecli.Options{Path: "/bin/true", Root: t.TempDir()}
		change(&options)
		_, err := claudecli.Start(options)
		var e *apierror.Error
		if !errors.As(err, &e) || e.Cause == nil {
			t.Fatalf("%s: err = %v", field, err)
		}
		if cause := e.Cause.Error(); !strings.Contains(cause, "the "+field+" holds a NUL") || strings.Contains(cause, "secret") {
			t.Errorf("%s: %v", field, cause)
		}
	}
}
