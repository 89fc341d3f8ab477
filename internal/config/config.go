// Package config is the service's configuration: a YAML file below environment
// variables below flags, with defaults and checks.
package config

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DefaultPort is the port of the service that this one replaces.
const DefaultPort = 8006

// Config is the configuration of the service. Each field is a flag; its variable
// has the prefix CLAUDE_API_, and where the service that this one replaces had a
// name for it, that still works. In the YAML file a field has the flag's name.
type Config struct {
	Listen string `help:"What to listen on, with commas between: addresses, or unix:/path; 127.0.0.1:8006 when neither this nor --port is set." env:"CLAUDE_API_LISTEN" group:"Listening"`
	Port   int    `help:"Port of 127.0.0.1 to listen on, where --listen isn't set." env:"CLAUDE_API_PORT,PORT" group:"Listening"`
	Edge   `embed:""`
	Data   `embed:"" group:"Data"`
	Tasks  `embed:"" group:"Tasks and sessions"`

	ClaudePath   string            `help:"The Claude Code CLI's binary; \"off\" runs without a CLI; empty looks for one." env:"CLAUDE_API_CLAUDE_PATH" group:"The CLI"`
	ClaudeHome   string            `help:"HOME of the CLI's processes, for a subscription login of its own; empty gives each a private one." env:"CLAUDE_API_CLAUDE_HOME" group:"The CLI"`
	ClaudeEnv    []string          `help:"Names of variables that the CLI's processes inherit, with commas between; none of the service's own (CLAUDE_API_…). None by default." env:"CLAUDE_API_CLAUDE_ENV" group:"The CLI"`
	Confine      string            `help:"Confinement of the CLI's processes: auto, as much as the kernel gives; require, no start without Landlock; off, for a CLI that can't run so: a script that starts what lies elsewhere in a home." default:"auto" enum:"auto,require,off" env:"CLAUDE_API_CONFINE" group:"The CLI"`
	MaxWorkers   int               `help:"The most CLI processes at once; the queue holds ten requests for each." default:"5" env:"CLAUDE_API_MAX_WORKERS,MAX_WORKERS" group:"The CLI"`
	MinWorkers   int               `help:"CLI processes that are kept started; more are started while requests wait, and end after five idle minutes. 0 keeps as many as --max-workers." default:"0" env:"CLAUDE_API_MIN_WORKERS" group:"The CLI"`
	QueueTimeout Seconds           `help:"How long a request may wait for a CLI process before it is refused with 503; 0: as long as its caller does." default:"60" env:"CLAUDE_API_QUEUE_TIMEOUT" group:"The CLI"`
	PoolReuse    string            `help:"What one CLI process may serve in turn: never, same-project or always." default:"same-project" enum:"never,same-project,always" env:"CLAUDE_API_POOL_REUSE" group:"The CLI"`
	PoolHold     Seconds           `help:"How long a CLI process holds a conversation after its answer, for the same key to go on with; 0: not at all." default:"300" env:"CLAUDE_API_POOL_HOLD" group:"The CLI"`
	PoolPark     Seconds           `help:"How long a CLI process waits for the results of a caller's tools; then the conversation is replayed." default:"900" env:"CLAUDE_API_POOL_PARK" group:"The CLI"`
	DefaultUse   string            `name:"default-use-cli" help:"Backend for requests that name none: true for the CLI, false for the direct API; empty takes the one that exists." env:"CLAUDE_API_DEFAULT_USE_CLI,DEFAULT_USE_CLI" group:"Backends and models"`
	ModelMap     map[string]string `help:"Further model names and what they stand for, as NAME=MODEL;NAME=MODEL." env:"CLAUDE_API_MODEL_MAP" group:"Backends and models"`

	BudgetOutputCap int64 `help:"The most output tokens that a request with a budget reserves, and so the most that it gets." default:"16384" env:"CLAUDE_API_BUDGET_OUTPUT_CAP" group:"Backends and models"`

	Prices string `help:"A JSON file with prices and models that differ from those built in." env:"CLAUDE_API_PRICES" group:"Backends and models"`

	Strict          bool `help:"Refuse requests of which something can't be honoured, instead of naming it in X-Claude-Warnings." env:"CLAUDE_API_STRICT" group:"Backends and models"`
	ToolPassthrough bool `name:"tool-passthrough-enabled" help:"Accept requests with tools of the caller's own." default:"true" env:"CLAUDE_API_TOOL_PASSTHROUGH_ENABLED,TOOL_PASSTHROUGH_ENABLED" group:"Backends and models"`

	SDKMaxRetries int     `name:"sdk-max-retries" help:"Retries of a call that the upstream refused for the moment, before anything was answered; of all calls together at most a fifth, and one a second." default:"4" env:"CLAUDE_API_SDK_MAX_RETRIES,SDK_MAX_RETRIES" group:"Retries and fallbacks"`
	SDKTimeout    Seconds `name:"sdk-timeout-seconds" help:"Time to an upstream's first byte, and between two; never a limit on a long answer." default:"60" env:"CLAUDE_API_SDK_TIMEOUT_SECONDS,SDK_TIMEOUT_SECONDS" group:"Retries and fallbacks"`

	CircuitBreakerThreshold       int      `help:"Failures in a row after which a backend isn't asked for a family of models for a while, but answers 503 at once; 0: never." default:"5" env:"CLAUDE_API_CIRCUIT_BREAKER_THRESHOLD,CIRCUIT_BREAKER_THRESHOLD" group:"Retries and fallbacks"`
	CircuitBreakerRecoverySeconds Seconds  `help:"How long that is, until one request tries." default:"30" env:"CLAUDE_API_CIRCUIT_BREAKER_RECOVERY_SECONDS,CIRCUIT_BREAKER_RECOVERY_SECONDS" group:"Retries and fallbacks"`
	Fallback                      []string `help:"What serves a request instead of what failed before it answered, as FAILED:INSTEAD with commas between: cli:direct, opus:sonnet. None by default." env:"CLAUDE_API_FALLBACK" group:"Retries and fallbacks"`

	PromptCaching bool    `name:"prompt-caching-enabled" help:"Add cache_control markers to direct calls that have none." env:"CLAUDE_API_PROMPT_CACHING_ENABLED,PROMPT_CACHING_ENABLED" group:"Backends and models"`
	ResponseTTL   Seconds `name:"response-ttl" help:"How long responses of /v1/responses are kept; a bare number is seconds." default:"720h" env:"CLAUDE_API_RESPONSE_TTL" group:"Data"`
	MaxBodyBytes  int64   `help:"The largest request body, in bytes." default:"33554432" env:"CLAUDE_API_MAX_BODY_BYTES" group:"Listening"`

	// WebhookURL is a Secret because many receivers know their callers by it.
	WebhookURL    Secret `name:"webhook-url" help:"Where to tell of budgets whose soft limit is reached: https, or http to this machine. Needs CLAUDE_API_WEBHOOK_SECRET." env:"CLAUDE_API_WEBHOOK_URL" group:"Logs and notifications"`
	WebhookSecret Secret `kong:"-"` // see ReadWebhookSecret

	WorkingRoots []string `help:"Folders in which, and below which, tasks may work that name a working_directory, with commas between; links are followed first. None: nowhere." env:"CLAUDE_API_WORKING_ROOTS" group:"Tasks and sessions"`

	Dashboard bool `help:"Serve the dashboard at /dashboard, and let admin keys open sessions for it. Switched off, /admin/v1 takes admin keys all the same." default:"true" env:"CLAUDE_API_DASHBOARD" group:"Listening"`

	LogLevel        string  `help:"debug, info, warn or error." default:"info" env:"CLAUDE_API_LOG_LEVEL,LOG_LEVEL" group:"Logs and notifications"`
	LogJSON         bool    `name:"log-json" help:"Log as JSON." env:"CLAUDE_API_LOG_JSON,LOG_JSON" group:"Logs and notifications"`
	ShutdownTimeout Seconds `help:"How long running requests may take to finish when the service is stopped." default:"30" env:"CLAUDE_API_SHUTDOWN_TIMEOUT,SHUTDOWN_TIMEOUT" group:"Stopping"`

	Anthropic Anthropic `kong:"-"`
}

// DefaultDataDir is where data goes when nothing else is said.
func DefaultDataDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ".claude-api"
	}
	return filepath.Join(home, ".claude-api")
}

// Anthropic is the upstream and the service's credential for it. It comes from
// the environment only, under the names that the Anthropic SDKs read.
type Anthropic struct {
	BaseURL   string
	APIKey    Secret
	AuthToken Secret
}

// Empty says that there is no credential.
func (a Anthropic) Empty() bool { return a.APIKey == "" && a.AuthToken == "" }

// ReadAnthropic reads ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN and
// ANTHROPIC_BASE_URL; the first two also as files, under NAME_FILE.
func ReadAnthropic(getenv func(string) string) (Anthropic, error) {
	key, err := secret(getenv, "ANTHROPIC_API_KEY")
	if err != nil {
		return Anthropic{}, err
	}
	token, err := secret(getenv, "ANTHROPIC_AUTH_TOKEN")
	if err != nil {
		return Anthropic{}, err
	}
	return Anthropic{BaseURL: getenv("ANTHROPIC_BASE_URL"), APIKey: key, AuthToken: token}, nil
}

// ReadWebhookSecret reads CLAUDE_API_WEBHOOK_SECRET, with which notifications are
// signed, or the file that CLAUDE_API_WEBHOOK_SECRET_FILE names.
func ReadWebhookSecret(getenv func(string) string) (Secret, error) {
	return secret(getenv, "CLAUDE_API_WEBHOOK_SECRET")
}

func secret(getenv func(string) string, name string) (Secret, error) {
	if value := getenv(name); value != "" {
		return Secret(value), nil
	}
	path := getenv(name + "_FILE")
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s_FILE: %w", name, err)
	}
	return Secret(strings.TrimSpace(string(data))), nil
}

// Secret is a text that never prints.
type Secret string

const redacted = "[redacted]"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format hides the secret from every verb of fmt, also from those that fit no
// text and would print it as what is wrong.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || f.Flag('#') {
		text = strconv.Quote(text)
	}
	_, _ = io.WriteString(f, text) // fmt keeps the error
}

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal gives the text.
func (s Secret) Reveal() string { return string(s) }

// Seconds is a duration that may be written as a bare number of seconds, as the
// old service's variables were, or with a unit.
type Seconds time.Duration

// UnmarshalText reads "30", "1.5" or "90s".
func (s *Seconds) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseFloat(string(text), 64); err == nil {
		if !(n >= 0 && n <= 1e6) { // NaN fails every comparison
			return fmt.Errorf("%q isn't a number of seconds between 0 and 1,000,000", text)
		}
		*s = Seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is neither a number of seconds nor a duration such as 90s", text)
	}
	*s = Seconds(d)
	return nil
}

// Duration is the time itself.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// UseCLI is the configured default backend: nil when none is.
func (c *Config) UseCLI() *bool {
	if use, known := truth[strings.ToLower(c.DefaultUse)]; known {
		return &use
	}
	return nil
}

// truth is how a yes and a no may be written.
var truth = map[string]bool{
	"true": true, "1": true, "yes": true, "on": true,
	"false": false, "0": false, "no": false, "off": false,
}

// CLIOff says that the service runs without a CLI.
func (c *Config) CLIOff() bool { return strings.EqualFold(c.ClaudePath, "off") }

// maxOutputCap is far more tokens than any model answers with.
const maxOutputCap = 100_000_000

// Validate checks what the flags' own types don't, and applies --port. It names
// the flag at fault.
func (c *Config) Validate() error {
	if err := c.Data.Validate(); err != nil {
		return err
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("--port: %d isn't a port", c.Port)
	}
	if c.Listen == "" {
		port := c.Port
		if port == 0 {
			port = DefaultPort
		}
		c.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	if err := c.validateEdge(); err != nil {
		return err
	}
	if err := c.validateTasks(); err != nil {
		return err
	}
	if c.DefaultUse != "" && c.UseCLI() == nil {
		return fmt.Errorf("--default-use-cli: %q is neither true nor false", c.DefaultUse)
	}
	if c.MaxWorkers < 1 || c.MaxWorkers > 1000 {
		return errors.New("--max-workers: must be between 1 and 1000")
	}
	if c.MinWorkers < 0 || c.MinWorkers > c.MaxWorkers {
		return fmt.Errorf("--min-workers: must be between 0 and --max-workers, which is %d", c.MaxWorkers)
	}
	for _, root := range c.WorkingRoots {
		if !filepath.IsAbs(root) {
			return fmt.Errorf("--working-roots: %q isn't an absolute path", root)
		}
	}
	if c.MaxBodyBytes < 1 {
		return errors.New("--max-body-bytes: must be at least 1")
	}
	if c.BudgetOutputCap < 0 || c.BudgetOutputCap > maxOutputCap {
		return fmt.Errorf("--budget-output-cap: must be between 0 (the default) and %d", maxOutputCap)
	}
	if c.SDKMaxRetries < 0 {
		return errors.New("--sdk-max-retries: must not be negative")
	}
	if c.SDKTimeout <= 0 {
		return errors.New("--sdk-timeout-seconds: must be more than 0")
	}
	if c.CircuitBreakerThreshold < 0 {
		return errors.New("--circuit-breaker-threshold: must not be negative")
	}
	if c.CircuitBreakerThreshold > 0 && c.CircuitBreakerRecoverySeconds <= 0 {
		return errors.New("--circuit-breaker-recovery-seconds: must be more than 0")
	}
	for _, pair := range c.Fallback {
		failed, instead, _ := strings.Cut(pair, ":")
		if failed == "" || instead == "" || strings.Contains(instead, ":") {
			return fmt.Errorf("--fallback: %q isn't of the form FAILED:INSTEAD", pair)
		}
	}
	if c.ResponseTTL <= 0 {
		return errors.New("--response-ttl: must be more than 0")
	}
	for _, name := range c.ClaudeEnv {
		// The service's own variables hold secrets that aren't for the CLI, and the mark
		// by which its processes are found.
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "CLAUDECODE") || strings.HasPrefix(name, "CLAUDE_API_") {
			return fmt.Errorf("--claude-env: %q can't be passed on", name)
		}
	}
	return nil
}
