package config_test

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"claude-code-api-service/internal/config"
)

// commandLine is a program with the service's settings in one command and some
// of them in another.
type commandLine struct {
	Serve struct {
		config.Config `embed:""`
	} `cmd:""`
	Keys struct {
		config.Data `embed:""`
	} `cmd:""`
}

// parse reads a file, variables and flags as the program does.
func parse(t *testing.T, yaml string, env map[string]string, args ...string) (*config.Config, error) {
	t.Helper()
	// The variables of this machine must not count.
	for _, name := range []string{
		"PORT", "MAX_WORKERS", "DB_PATH", "LOG_LEVEL", "LOG_JSON", "SHUTDOWN_TIMEOUT", "SDK_MAX_RETRIES",
		"SDK_TIMEOUT_SECONDS", "DEFAULT_USE_CLI", "PROMPT_CACHING_ENABLED", "CIRCUIT_BREAKER_THRESHOLD", "CIRCUIT_BREAKER_RECOVERY_SECONDS",
	} {
		unset(t, name)
	}
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "CLAUDE_API_") {
			unset(t, name)
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c commandLine
	parser, err := kong.New(&c, kong.Vars{"data_dir": "/default"}, kong.Resolvers(file), kong.Writers(io.Discard, io.Discard),
		kong.Exit(func(int) { t.Fatal("the parser ends the program") }))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(append([]string{"serve"}, args...))
	return &c.Serve.Config, err
}

// unset takes a variable away until the test's end.
func unset(t *testing.T, name string) {
	t.Helper()
	t.Setenv(name, "")
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

func TestPrecedence(t *testing.T) {
	const file = "max-workers: 2\npool_reuse: always\nlog-level: warn\n"
	for _, tt := range []struct {
		name, file string
		env        map[string]string
		args       []string
		want       int
	}{
		{"the default", "", nil, nil, 5},
		{"the file", file, nil, nil, 2},
		{"a variable", file, map[string]string{"CLAUDE_API_MAX_WORKERS": "3"}, nil, 3},
		{"an old variable", file, map[string]string{"MAX_WORKERS": "4"}, nil, 4},
		{"the new name", file, map[string]string{"MAX_WORKERS": "4", "CLAUDE_API_MAX_WORKERS": "3"}, nil, 3},
		{"a flag", file, map[string]string{"CLAUDE_API_MAX_WORKERS": "3"}, []string{"--max-workers=6"}, 6},
		{"a flag against the file", file, nil, []string{"--max-workers", "6"}, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(t, tt.file, tt.env, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if c.MaxWorkers != tt.want {
				t.Errorf("%d workers, want %d", c.MaxWorkers, tt.want)
			}
			// What nothing else sets stays the file's, or the default.
			if tt.file != "" && (c.PoolReuse != "always" || c.LogLevel != "warn") || tt.file == "" && c.PoolReuse != "same-project" {
				t.Errorf("reuse %s, log level %s", c.PoolReuse, c.LogLevel)
			}
		})
	}
}

func TestGroupedSetting(t *testing.T) {
	if c, err := parse(t, "pool:\n  reuse: never\n", nil); err != nil || c.PoolReuse != "never" {
		t.Errorf("reuse = %v, %v", c, err)
	}
	for _, file := range []string{"pool: never\n", "pool:\n  size: 3\n"} {
		if _, err := parse(t, file, nil); err == nil {
			t.Errorf("%q was accepted", file)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := parse(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Listen: "127.0.0.1:8006", Edge: config.Edge{SocketMode: "0600"}, Data: config.Data{DataDir: "/default", Synchronous: "NORMAL"},
		Tasks: config.Tasks{
			MaxTasks: 2, TaskSpares: 1, TaskTTL: config.Seconds(30 * 24 * time.Hour), ApprovalTimeout: config.Seconds(5 * time.Minute),
			ArtifactBytes: 100 << 20, SessionIdle: config.Seconds(15 * time.Minute), SessionTTL: config.Seconds(30 * 24 * time.Hour),
		},
		Confine: "auto", MaxWorkers: 5, QueueTimeout: config.Seconds(time.Minute), PoolReuse: "same-project", PoolHold: config.Seconds(5 * time.Minute), PoolPark: config.Seconds(15 * time.Minute), ToolPassthrough: true, Dashboard: true, SDKMaxRetries: 4, BudgetOutputCap: 16_384, SDKTimeout: config.Seconds(time.Minute),
		CircuitBreakerThreshold: 5, CircuitBreakerRecoverySeconds: config.Seconds(30 * time.Second),
		ResponseTTL: config.Seconds(30 * 24 * time.Hour), MaxBodyBytes: 32 << 20, LogLevel: "info", ShutdownTimeout: config.Seconds(30 * time.Second),
	}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got %+v\nwant %+v", *c, want)
	}
}

func TestOldNames(t *testing.T) {
	c, err := parse(t, "", map[string]string{
		"PORT": "9000", "MAX_WORKERS": "3", "DB_PATH": "/old.db", "LOG_LEVEL": "debug", "LOG_JSON": "true", "SHUTDOWN_TIMEOUT": "7",
		"SDK_MAX_RETRIES": "2", "SDK_TIMEOUT_SECONDS": "90", "DEFAULT_USE_CLI": "false", "PROMPT_CACHING_ENABLED": "1",
		"CIRCUIT_BREAKER_THRESHOLD": "8", "CIRCUIT_BREAKER_RECOVERY_SECONDS": "45",
	})
	if err != nil {
		t.Fatal(err)
	}
	use := c.UseCLI()
	if c.Listen != "127.0.0.1:9000" || c.MaxWorkers != 3 || c.Database() != "/old.db" || c.LogLevel != "debug" || !c.LogJSON ||
		c.ShutdownTimeout.Duration() != 7*time.Second || c.SDKMaxRetries != 2 || c.SDKTimeout.Duration() != 90*time.Second ||
		use == nil || *use || !c.PromptCaching || c.CircuitBreakerThreshold != 8 || c.CircuitBreakerRecoverySeconds.Duration() != 45*time.Second {
		t.Errorf("got %+v", *c)
	}
}

func TestFileForms(t *testing.T) {
	c, err := parse(t, `
listen: 127.0.0.1:1
claude_env: [TZ, HTTPS_PROXY]
model-map: {house: haiku, "gpt-9": opus}
shutdown-timeout: 1.5
sdk-timeout-seconds: 2m
log-json: true
max-body-bytes: 1000
claude-home:
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:1" || !reflect.DeepEqual(c.ClaudeEnv, []string{"TZ", "HTTPS_PROXY"}) ||
		!reflect.DeepEqual(c.ModelMap, map[string]string{"house": "haiku", "gpt-9": "opus"}) ||
		c.ShutdownTimeout.Duration() != 1500*time.Millisecond || c.SDKTimeout.Duration() != 2*time.Minute || !c.LogJSON || c.MaxBodyBytes != 1000 {
		t.Errorf("got %+v", *c)
	}
	if c.ClaudeHome != "" {
		t.Errorf("a setting without a value became %q", c.ClaudeHome)
	}
}

func TestFileRefused(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"an unknown setting":   {"max-wrokers: 3", `unknown setting "max-wrokers"`},
		"a command":            {"serve: {}", `unknown setting "serve"`},
		"the credential":       {"anthropic: x", `unknown setting "anthropic"`},
		"a value of its type":  {"max-workers: many", "--max-workers"},
		"none of the choices":  {"pool-reuse: sometimes", "--pool-reuse"},
		"what Validate checks": {"max-workers: 0", "--max-workers"},
		"no YAML":              {"listen: [", "config.yaml"},
		"no settings":          {"- listen", "config.yaml"},
		"a setting twice":      {"listen: a\nlisten: b", "config.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, tt.file, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	if file, err := config.ReadFile(""); err != nil || file == nil {
		t.Errorf("no file at all: %v, %v", file, err)
	}
	if _, err := config.ReadFile(filepath.Join(home, "absent.yaml")); err == nil || !strings.Contains(err.Error(), "absent.yaml") {
		t.Errorf("a named file that isn't there: %v", err)
	}
	path := filepath.Join(home, ".claude-api", "config.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ReadFile(""); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file in the data folder: %v", err)
	}
}
