package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"claude-code-api-service/internal/config"
)

// valid is a configuration with nothing wrong.
func valid() config.Config {
	return config.Config{
		Listen: "127.0.0.1:8006", MaxWorkers: 5, MaxBodyBytes: 1, SDKTimeout: config.Seconds(time.Second), ResponseTTL: config.Seconds(time.Hour),
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(c *config.Config)
		want   string // in the error; "" for none
	}{
		{"nothing", func(*config.Config) {}, ""},
		{"every address", func(c *config.Config) { c.Listen = ":8006" }, ""},
		{"an address of version 6", func(c *config.Config) { c.Listen = "[::1]:0" }, ""},
		{"no port", func(c *config.Config) { c.Listen = "127.0.0.1" }, "--listen: "},
		{"an address without a port", func(c *config.Config) { c.Listen = "127.0.0.1" }, "--listen: "},
		{"a port below zero", func(c *config.Config) { c.Port = -1 }, "--port: -1"},
		{"the largest port", func(c *config.Config) { c.Port = 65535 }, ""},
		{"a port too large", func(c *config.Config) { c.Port = 65536 }, "--port: 65536"},
		{"a backend", func(c *config.Config) { c.DefaultUse = "Yes" }, ""},
		{"neither backend", func(c *config.Config) { c.DefaultUse = "cli" }, `--default-use-cli: "cli"`},
		{"no workers", func(c *config.Config) { c.MaxWorkers = 0 }, "--max-workers"},
		{"fewer workers at times", func(c *config.Config) { c.MinWorkers = 5 }, ""},
		{"more workers than the most", func(c *config.Config) { c.MinWorkers = 6 }, "--min-workers"},
		{"fewer than no workers", func(c *config.Config) { c.MinWorkers = -1 }, "--min-workers"},
		{"too many workers", func(c *config.Config) { c.MaxWorkers = 1001 }, "--max-workers"},
		{"no life for responses", func(c *config.Config) { c.ResponseTTL = 0 }, "--response-ttl"},
		{"no body", func(c *config.Config) { c.MaxBodyBytes = 0 }, "--max-body-bytes"},
		{"the largest cap", func(c *config.Config) { c.BudgetOutputCap = 100_000_000 }, ""},
		{"too large a cap", func(c *config.Config) { c.BudgetOutputCap = 100_000_001 }, "--budget-output-cap"},
		{"a cap below zero", func(c *config.Config) { c.BudgetOutputCap = -1 }, "--budget-output-cap"},
		{"no retries", func(c *config.Config) { c.SDKMaxRetries = 0 }, ""},
		{"fewer than no retries", func(c *config.Config) { c.SDKMaxRetries = -1 }, "--sdk-max-retries"},
		{"no time", func(c *config.Config) { c.SDKTimeout = 0 }, "--sdk-timeout-seconds"},
		{"no breaker", func(c *config.Config) { c.CircuitBreakerThreshold, c.CircuitBreakerRecoverySeconds = 0, 0 }, ""},
		{"a breaker below zero", func(c *config.Config) { c.CircuitBreakerThreshold = -1 }, "--circuit-breaker-threshold"},
		{"a breaker that never closes", func(c *config.Config) { c.CircuitBreakerThreshold, c.CircuitBreakerRecoverySeconds = 5, 0 }, "--circuit-breaker-recovery-seconds"},
		{"fallbacks", func(c *config.Config) { c.Fallback = []string{"cli:direct", "opus:sonnet"} }, ""},
		{"a fallback to nothing", func(c *config.Config) { c.Fallback = []string{"cli"} }, `--fallback: "cli"`},
		{"a fallback of three", func(c *config.Config) { c.Fallback = []string{"opus:sonnet:haiku"} }, `--fallback: "opus:sonnet:haiku"`},
		{"variables for the CLI", func(c *config.Config) { c.ClaudeEnv = []string{"TZ", "HTTPS_PROXY"} }, ""},
		{"a variable's value", func(c *config.Config) { c.ClaudeEnv = []string{"TZ=UTC"} }, `--claude-env: "TZ=UTC"`},
		{"no variable", func(c *config.Config) { c.ClaudeEnv = []string{""} }, `--claude-env: ""`},
		{"what breaks the CLI", func(c *config.Config) { c.ClaudeEnv = []string{"CLAUDECODE"} }, `--claude-env: "CLAUDECODE"`},
		{"the service's own", func(c *config.Config) { c.ClaudeEnv = []string{"CLAUDE_API_WORKER"} }, `--claude-env: "CLAUDE_API_WORKER"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.change(&c)
			err := c.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestValidateAppliesThePort(t *testing.T) {
	for _, tt := range []struct {
		listen string
		port   int
		want   string
	}{
		{"", 0, "127.0.0.1:8006"},
		{"", 99, "127.0.0.1:99"},
		{"[::1]:1", 99, "[::1]:1"}, // who says where to listen is right
		{":0", 0, ":0"},
	} {
		c := valid()
		c.Listen, c.Port = tt.listen, tt.port
		for range 2 { // it may be called again
			if err := c.Validate(); err != nil || c.Listen != tt.want {
				t.Errorf("%q with port %d became %s, want %s; %v", tt.listen, tt.port, c.Listen, tt.want, err)
			}
		}
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "1.5": 1500 * time.Millisecond, "0": 0, "1e3": 1000 * time.Second, "1000000": 1e6 * time.Second,
		"90s": 90 * time.Second, "2m": 2 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		var s config.Seconds
		if err := s.UnmarshalText([]byte(text)); err != nil || s.Duration() != want {
			t.Errorf("%s is %v, want %v; %v", text, s.Duration(), want, err)
		}
	}
	for _, text := range []string{"", "soon", "-1", "-1s", "1000001", "NaN", "Inf", "-Inf", "1 s", "30 seconds"} {
		s := config.Seconds(7)
		if err := s.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) || s != 7 {
			t.Errorf("%q became %v; %v", text, s.Duration(), err)
		}
	}
}

func FuzzSeconds(f *testing.F) {
	for _, seed := range []string{"30", "1.5", "90s", "-1", "NaN", "1e400", "0x1p-2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s config.Seconds
		if err := s.UnmarshalText([]byte(text)); err == nil && s.Duration() < 0 {
			t.Errorf("%q became %v", text, s.Duration())
		}
	})
}

func TestUseCLI(t *testing.T) {
	yes, no := true, false
	for text, want := range map[string]*bool{"": nil, "true": &yes, "ON": &yes, "1": &yes, "False": &no, "off": &no, "perhaps": nil} {
		got := (&config.Config{DefaultUse: text}).UseCLI()
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: %v", text, got)
		}
	}
	for path, want := range map[string]bool{"": false, "off": true, "OFF": true, "/usr/bin/off": false} {
		if got := (&config.Config{ClaudePath: path}).CLIOff(); got != want {
			t.Errorf("a path of %q: off is %v", path, got)
		}
	}
}

// A secret shows in no form that somebody may print a configuration in.
func TestSecretNeverPrints(t *testing.T) {
	const text = "sk-ant-0123456789"
	settings := valid()
	settings.Anthropic = config.Anthropic{BaseURL: "http://upstream", APIKey: text, AuthToken: text}
	settings.WebhookURL, settings.WebhookSecret = "https://hooks.example/"+text, text
	settings.DatabaseURL = "postgres://u:" + text + "@h/d"
	secret := config.Secret(text)
	var printed []string
	for _, value := range []any{secret, &secret, settings, &settings, settings.Anthropic, map[string]any{"a": secret}, []config.Secret{secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			printed = append(printed, fmt.Sprintf(verb, value))
		}
		j, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
		printed = append(printed, string(j), string(y), log.String())
	}
	printed = append(printed, fmt.Errorf("wrapped: %w", fmt.Errorf("key %v", secret)).Error(), fmt.Sprint(secret), fmt.Sprintln(settings))
	for _, p := range printed {
		if strings.Contains(p, text) || strings.Contains(p, fmt.Sprintf("%x", text)) {
			t.Errorf("the secret is in %s", p)
		}
	}
	if secret.Reveal() != text {
		t.Errorf("revealed as %s", secret.Reveal())
	}
	if got := fmt.Sprintf("%v %s %q %#v|%v", secret, secret, secret, secret, config.Secret("")); got != `[redacted] [redacted] "[redacted]" "[redacted]"|` {
		t.Errorf("printed as %s", got)
	}
}

func TestReadWebhookSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("whsec_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, env := range map[string]map[string]string{
		"":           {},
		"whsec_env":  {"CLAUDE_API_WEBHOOK_SECRET": "whsec_env", "CLAUDE_API_WEBHOOK_SECRET_FILE": file},
		"whsec_file": {"CLAUDE_API_WEBHOOK_SECRET_FILE": file},
	} {
		got, err := config.ReadWebhookSecret(func(name string) string { return env[name] })
		if err != nil || got.Reveal() != want {
			t.Errorf("%v: %s, %v", env, got.Reveal(), err)
		}
	}
	_, err := config.ReadWebhookSecret(func(name string) string { return map[string]string{"CLAUDE_API_WEBHOOK_SECRET_FILE": file + "x"}[name] })
	if err == nil || !strings.Contains(err.Error(), "CLAUDE_API_WEBHOOK_SECRET_FILE") {
		t.Errorf("no such file: %v", err)
	}
}

func TestReadAnthropic(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "key")
	if err := os.WriteFile(file, []byte("  from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		env        map[string]string
		key, token string
		url        string
		wrong      string
	}{
		{name: "nothing"},
		{name: "a key", env: map[string]string{"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://u"}, key: "k", url: "http://u"},
		{name: "a token", env: map[string]string{"ANTHROPIC_AUTH_TOKEN": "t"}, token: "t"},
		{name: "both", env: map[string]string{"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"}, key: "k", token: "t"},
		{name: "files", env: map[string]string{"ANTHROPIC_API_KEY_FILE": file, "ANTHROPIC_AUTH_TOKEN_FILE": file}, key: "from-a-file", token: "from-a-file"},
		{name: "a key wins against its file", env: map[string]string{"ANTHROPIC_API_KEY": "k", "ANTHROPIC_API_KEY_FILE": file}, key: "k"},
		{name: "no such file", env: map[string]string{"ANTHROPIC_API_KEY_FILE": file + "x"}, wrong: "ANTHROPIC_API_KEY_FILE"},
		{name: "no such file for the token", env: map[string]string{"ANTHROPIC_AUTH_TOKEN_FILE": file + "x"}, wrong: "ANTHROPIC_AUTH_TOKEN_FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := config.ReadAnthropic(func(name string) string { return tt.env[name] })
			if (err != nil) != (tt.wrong != "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Fatalf("error %v", err)
			}
			if got.APIKey.Reveal() != tt.key || got.AuthToken.Reveal() != tt.token || got.BaseURL != tt.url {
				t.Errorf("key %q, token %q, base URL %q", got.APIKey.Reveal(), got.AuthToken.Reveal(), got.BaseURL)
			}
			if got.Empty() != (tt.key == "" && tt.token == "") {
				t.Errorf("empty is %v", got.Empty())
			}
		})
	}
}
